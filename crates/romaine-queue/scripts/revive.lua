-- Puts dead jobs back among the waiting, with all their attempts and the reason of their death. ARGV: 0 and their ids; or how many of the oldest, the
-- time of the first such call (empty if it is this one), how many to pass over: who revives all must not meet again what
-- failed once more, nor stop at those that have to stay.
-- Answers how many came back, how many could not because another job has their unique key, how many it looked at, and the
-- time.
local now = clock()
local ids = {}
assert(natural(ARGV[1]), 'an argument that is no number')
if tonumber(ARGV[1]) > 0 then
  assert((ARGV[2] == '' or natural(ARGV[2])) and natural(ARGV[3]), 'an argument that is no number')
  -- What died in the same millisecond is taken by the first call alone: it may have died again.
  local until_then = ARGV[2] == '' and now or '(' .. ARGV[2]
  local most = math.min(tonumber(ARGV[1]), 500)
  ids = redis.call('ZRANGEBYSCORE', dead, '-inf', until_then, 'LIMIT', ARGV[3], most)
else
  for i = 2, #ARGV do ids[i - 1] = ARGV[i] end
end
local revived, held = 0, 0
for _, id in ipairs(ids) do
  local record, state = redis.call('HGET', jobs, id), redis.call('HGET', states, id)
  if record and where(state) == DEAD then
    local unique_key = unique_of(record)
    if unique_key ~= '' and redis.call('HSETNX', unique, unique_key, id) == 0 then
      held = held + 1
    else
      local priority, _, most = parts(state)
      redis.call('ZREM', dead, id)
      redis.call('HDEL', results, id)
      redis.call('ZREM', results_until, id)
      redis.call('HSET', states, id, priority .. ':0:' .. most .. ':w' .. now)
      redis.call('RPUSH', ({high, normal, low})[priority + 1], id)
      revived = revived + 1
    end
  end
end
if revived > 0 then
  redis.call('HINCRBY', meta, 'revived', revived)
  ring()
end
return {revived, held, #ids, now}
