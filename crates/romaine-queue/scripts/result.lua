-- What a job left behind, unless its time is over: tidying comes now and then only. ARGV: id.
local until_ms = redis.call('ZSCORE', results_until, ARGV[1])
if until_ms and tonumber(until_ms) <= clock() then return false end
return redis.call('HGET', results, ARGV[1])
