-- Takes or keeps the lead of a rollout. ARGV: name, lease in ms.
-- Answers {1, now, order, whether the lead is new} or {0, now, name of who leads, ms left}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'driver', 'driver_until', 'order')
local left = held[2] and tonumber(held[2]) - now or 0
if held[1] and held[1] ~= ARGV[1] and left > 0 then return {0, now, held[1], left} end
redis.call('HSET', KEYS[1], 'driver', ARGV[1], 'driver_until', now + tonumber(ARGV[2]))
return {1, now, held[3] or '', held[1] == ARGV[1] and 0 or 1}
