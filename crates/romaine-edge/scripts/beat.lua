#!lua flags=allow-oom
-- A sign of life: who speaks for the edge, and what it says of itself. What is wanted of it is asked for beside this: a
-- key that may only be read must not be given to a script that writes.
-- It overwrites fields that are few, and runs when the hub is full: an edge that is well must not look dead then.
-- ARGV: nonce, the nonce of the process before, lease in ms, host, then pairs of field and value.
-- Answers {1, now}, or {0, now, nonce, host, since, renewed, ms left} when another process speaks for it.
local session, state = KEYS[1], KEYS[2]
local nonce, before, lease, host = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', session, 'nonce', 'host', 'since', 'renewed')
if held[1] and held[1] ~= nonce and (before == '' or held[1] ~= before) then
  return {0, now, held[1], held[2] or '', held[3] or '', held[4] or '', redis.call('PTTL', session)}
end
local since = held[1] == nonce and held[3] or now
redis.call('HSET', session, 'nonce', nonce, 'host', host, 'since', since, 'renewed', now)
redis.call('PEXPIRE', session, lease)
redis.call('HSET', state, 'seen', now, unpack(ARGV, 5))
return {1, now}
