-- A new rollout. KEYS: plan, edges, story. ARGV: plan, progress, line, then pairs of edge and target. 0 if there is one.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'plan', ARGV[1], 'progress', ARGV[2])
for i = 4, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('XADD', KEYS[3], '*', 'line', ARGV[3])
return 1
