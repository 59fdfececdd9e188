-- A step of a rollout, if it is still its driver's to take, and follows the step that its driver took last: a failover may
-- have lost that one. KEYS: plan, edges, story. ARGV: driver, number of steps before this one, progress, the order that
-- was carried out, number of targets, pairs of edge and target, lines. Answers 0 when it is not.
if redis.call('HGET', KEYS[1], 'driver') ~= ARGV[1] then return 0 end
if (redis.call('HGET', KEYS[1], 'steps') or '0') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'progress', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'steps', 1)
if ARGV[4] ~= '' and redis.call('HGET', KEYS[1], 'order') == ARGV[4] then redis.call('HDEL', KEYS[1], 'order') end
local targets = tonumber(ARGV[5])
for i = 0, targets - 1 do redis.call('HSET', KEYS[2], ARGV[6 + 2 * i], ARGV[7 + 2 * i]) end
for i = 6 + 2 * targets, #ARGV do redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'line', ARGV[i]) end
return 1
