-- Puts dead jobs back among the waiting, with all their attempts. ARGV: how many of the oldest, or 0 and their ids.
-- Answers how many came back, and how many could not because another job has their unique key.
local now = clock()
local ids = {}
if tonumber(ARGV[1]) > 0 then
  ids = redis.call('ZRANGE', dead, 0, math.min(tonumber(ARGV[1]), 500) - 1)
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
      redis.call('HDEL', errors, id)
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
return {revived, held}
