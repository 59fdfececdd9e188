-- What is wanted of an edge, unless something newer is. ARGV: generation, text. Answers the generation that is wanted now.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local wanted = tonumber(redis.call('HGET', KEYS[1], 'generation') or '0')
local generation = tonumber(ARGV[1])
if generation > wanted then
  redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'deploy', ARGV[2], 'at', now)
  return generation
end
return wanted
