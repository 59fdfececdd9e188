-- Takes jobs away that wait, are delayed or are dead, oldest first. ARGV: waiting, delayed or dead; how many at most.
-- Answers how many it looked at, and how many it took away.
local now = clock()
local kind, most = ARGV[1], math.min(tonumber(ARGV[2]), 500)
local wanted = ({waiting = WAITS, delayed = DELAYED, dead = DEAD})[kind]
assert(wanted and natural(ARGV[2]), 'arguments that make no sense')
local ids = {}
if kind == 'waiting' then
  for _, list in ipairs({high, normal, low}) do
    if #ids < most then
      for _, id in ipairs(redis.call('LPOP', list, most - #ids) or {}) do ids[#ids + 1] = id end
    end
  end
elseif kind == 'delayed' then
  ids = redis.call('ZRANGE', delayed, 0, most - 1)
else
  ids = redis.call('ZRANGE', dead, 0, most - 1)
end
local gone, ghosts = {}, 0
for _, id in ipairs(ids) do
  local record = redis.call('HGET', jobs, id)
  if record and where(redis.call('HGET', states, id)) == wanted then
    erase(id, unique_of(record))
    gone[#gone + 1] = id
  elseif kind == 'waiting' then
    ghosts = ghosts + 1
  else
    redis.call('ZREM', delayed, id)
    redis.call('ZREM', dead, id)
  end
end
if ghosts > 0 then redis.call('HINCRBY', meta, 'ghosts', -ghosts) end
if #gone > 0 then
  redis.call('HINCRBY', meta, 'purged', #gone)
  remember_as_told(gone, now)
end
return {#ids, #gone}
