-- Shows jobs. ARGV: waiting, delayed, leased or dead, from where, how many (at most 100); or id and the ids.
-- Answers the time, then for each: id, state, score (due, end of lease, death) or 0, last error, record.
local now = clock()
local kind, from, size = ARGV[1], tonumber(ARGV[2]), math.min(tonumber(ARGV[3] or 0) or 0, 100)
local found = {now}

local function show(id, score)
  local record = redis.call('HGET', jobs, id)
  if not record then return end
  local state = redis.call('HGET', states, id)
  if kind == 'waiting' and where(state) ~= WAITS then return end
  for _, value in ipairs({id, state or '', score, redis.call('HGET', errors, id) or '', record}) do
    found[#found + 1] = value
  end
end

if kind == 'id' then
  for i = 2, #ARGV do
    local id = ARGV[i]
    show(id, redis.call('ZSCORE', delayed, id) or redis.call('ZSCORE', leases, id) or redis.call('ZSCORE', dead, id) or '0')
  end
elseif kind == 'waiting' then
  local left = size
  for _, list in ipairs({high, normal, low}) do
    local length = redis.call('LLEN', list)
    if left > 0 and from < length then
      for _, id in ipairs(redis.call('LRANGE', list, from, from + left - 1)) do
        show(id, '0')
        left = left - 1
      end
    end
    from = math.max(0, from - length)
  end
else
  local set = ({delayed = delayed, leased = leases, dead = dead})[kind]
  local members = redis.call('ZRANGE', set, from, from + size - 1, 'WITHSCORES')
  for i = 1, #members, 2 do show(members[i], members[i + 1]) end
end
return found
