-- Changes what applies to the whole queue. ARGV: pairs name, value; an empty value takes the setting away.
local KNOWN = {paused = true, cap = true, rate = true, burst = true, tokens = true, tokens_at = true}
assert(#ARGV % 2 == 0, 'arguments are missing')
for i = 1, #ARGV, 2 do assert(KNOWN[ARGV[i]], 'no such setting') end
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', meta, ARGV[i])
  else
    redis.call('HSET', meta, ARGV[i], ARGV[i + 1])
  end
end
if redis.call('EXISTS', high, normal, low) > 0 then ring() end
return 1
