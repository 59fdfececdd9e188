#!lua flags=allow-oom
-- The last words of an agent that ends: nobody need wait for its session to lapse. ARGV: nonce.
-- Runs when the hub is full, too.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'left', 1)
return redis.call('DEL', KEYS[1])
