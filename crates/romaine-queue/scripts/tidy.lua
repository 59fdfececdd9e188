-- Forgets what is old: results, dead letters, consumers that were not heard of. ARGV: age of dead letters in ms, age of
-- consumers in ms. Answers how many of each were forgotten; at most 100, so nobody waits for it.
local now, most = clock(), 100
assert(natural(ARGV[1]) and natural(ARGV[2]), 'an argument that is no number')
local due = redis.call('ZRANGEBYSCORE', results_until, '-inf', now, 'LIMIT', 0, most)
if #due > 0 then
  redis.call('ZREM', results_until, unpack(due))
  redis.call('HDEL', results, unpack(due))
end
local old = redis.call('ZRANGEBYSCORE', dead, '-inf', now - tonumber(ARGV[1]), 'LIMIT', 0, most)
for _, id in ipairs(old) do
  local record = redis.call('HGET', jobs, id)
  erase(id, record and unique_of(record) or '')
end
if #old > 0 then redis.call('HINCRBY', meta, 'dropped', #old) end
local silent = {}
local known = redis.call('HRANDFIELD', consumers, most, 'WITHVALUES')
for i = 1, #known, 2 do
  local last = tonumber(string.match(known[i + 1], '^%d+'))
  if not last or now - last > tonumber(ARGV[2]) then silent[#silent + 1] = known[i] end
end
if #silent > 0 then redis.call('HDEL', consumers, unpack(silent)) end
return {#due, #old, #silent}
