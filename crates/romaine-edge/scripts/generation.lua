-- Two generations, higher than all that were given before and than ARGV[1]. Answers the higher one.
local last = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])) + 2
redis.call('SET', KEYS[1], string.format('%.0f', last))
return last
