-- Gives the lead of a rollout up, if it is ours. ARGV: name.
if redis.call('HGET', KEYS[1], 'driver') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], 'driver', 'driver_until')
