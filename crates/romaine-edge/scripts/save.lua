-- A step of a rollout, if it is still its driver's to take. KEYS: plan, edges, story. ARGV: driver, progress, the order
-- that was carried out, number of targets, pairs of edge and target, lines. Answers 0 when somebody else leads by now.
if redis.call('HGET', KEYS[1], 'driver') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'progress', ARGV[2])
if ARGV[3] ~= '' and redis.call('HGET', KEYS[1], 'order') == ARGV[3] then redis.call('HDEL', KEYS[1], 'order') end
local targets = tonumber(ARGV[4])
for i = 0, targets - 1 do redis.call('HSET', KEYS[2], ARGV[5 + 2 * i], ARGV[6 + 2 * i]) end
for i = 5 + 2 * targets, #ARGV do redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'line', ARGV[i]) end
return 1
