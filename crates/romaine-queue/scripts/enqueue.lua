-- Accepts jobs, each at most once by its id.
-- ARGV: jobs the queue may hold, generation keys it may hold, then for each job: id, head, body.
-- Head: priority, most attempts, kind of time (0 now, 1 a delay, 2 an instant), time, time to live, has a unique key,
-- kind of generation (0 none, 1 supersedes older ones, 2 only refuses older ones), generation.
-- Answers: the time, then for each job 0 accepted, 1 known already, 2 a newer generation is known, 3 too many
-- generation keys, or the id of the job that has the unique key. One number, -1, and how many it holds: it is full.
local HEAD = '>BHBI8I8BBI8'
local now = clock()
local count = (#ARGV - 2) / 3

-- Read before anything is written: what cannot be read is an error that leaves nothing behind.
local heads, names = {}, {}
for i = 1, count do
  heads[i] = {struct.unpack(HEAD, ARGV[3 * i + 1])}
  names[i] = {struct.unpack(NAMES, ARGV[3 * i + 2])}
  assert(heads[i][1] <= 2 and heads[i][2] > 0, 'a head that makes no sense')
end
assert(count > 0 and count % 1 == 0 and tonumber(ARGV[2]), 'arguments that make no sense')

local held = redis.call('HLEN', jobs)
if held + count > tonumber(ARGV[1]) then
  local new = 0
  for i = 1, count do new = new + 1 - redis.call('HEXISTS', jobs, ARGV[3 * i]) end
  if new > 0 and held + new > tonumber(ARGV[1]) then return {-1, held} end
end

local ids = {}
for i = 1, count do ids[i] = ARGV[3 * i] end
local recently, before = redis.call('SMISMEMBER', seen0, unpack(ids)), redis.call('SMISMEMBER', seen1, unpack(ids))

local answers, ready, gone = {now}, {{}, {}, {}}, {}
local accepted, superseded, wake = 0, 0, false
-- Ids that left in this very call: they are not among the remembered yet.
local left = {}

-- A waiting or delayed job gives way to a newer generation; a running or dead one stays what it is.
local function give_way(id)
  local record = redis.call('HGET', jobs, id)
  if not record then return end
  local place = where(redis.call('HGET', states, id))
  if place == WAITS or place == DELAYED then
    erase(id, unique_of(record))
    if place == WAITS then redis.call('HINCRBY', meta, 'ghosts', 1) end
    gone[#gone + 1] = id
    left[id] = true
    superseded = superseded + 1
  end
end

-- Why a job is not accepted, or nil and the older job of its generation key.
local function refusal(id, index, has_unique, generation_kind, generation, unique_key, generation_key)
  if left[id] then return 1 end
  if recently[index] == 1 or before[index] == 1 or redis.call('HEXISTS', jobs, id) == 1 then return 1 end
  if has_unique == 1 then
    local holder = redis.call('HGET', unique, unique_key)
    if holder then return holder end
  end
  if generation_kind == 0 then return nil end
  local known = redis.call('HGET', generations, generation_key)
  if not known then
    if redis.call('HLEN', generations) >= tonumber(ARGV[2]) then return 3 end
    return nil
  end
  local newest, older = string.match(known, '^(%d+):(.*)$')
  if generation <= tonumber(newest) then return 2 end
  return nil, older
end

for i = 1, count do
  local id, body = ids[i], ARGV[3 * i + 2]
  local priority, most, time_kind, time, ttl, has_unique, generation_kind, generation = unpack(heads[i])
  local _, unique_key, generation_key = unpack(names[i])
  local why, older = refusal(id, i, has_unique, generation_kind, generation, unique_key, generation_key)
  if why then
    answers[i + 1] = why
  else
    local expires = 0
    if ttl > 0 then expires = now + ttl end
    local record = struct.pack(HEADER, 1, priority, most, now, expires, generation_kind, generation) .. body
    redis.call('HSET', jobs, id, record)
    if has_unique == 1 then redis.call('HSET', unique, unique_key, id) end
    if generation_kind > 0 then
      -- The older job may have had the same id, if that is forgotten: then there is nothing left to give way.
      if older and older ~= id and generation_kind == 1 then give_way(older) end
      redis.call('HSET', generations, generation_key, string.format('%.0f', generation) .. ':' .. id)
    end
    local due = time
    if time_kind == 1 then due = now + time end
    if time_kind > 0 and due > now then
      redis.call('ZADD', delayed, due, id)
      redis.call('HSET', states, id, priority .. ':0:' .. most .. ':d')
      wake = wake or redis.call('ZRANGE', delayed, 0, 0)[1] == id
    else
      local line = ready[priority + 1]
      line[#line + 1] = id
    end
    accepted = accepted + 1
    answers[i + 1] = 0
  end
end

for index, list in ipairs({high, normal, low}) do
  if #ready[index] > 0 then
    redis.call('RPUSH', list, unpack(ready[index]))
    wake = true
  end
end
if wake then ring() end
if accepted > 0 then redis.call('HINCRBY', meta, 'enqueued', accepted) end
if superseded > 0 then
  redis.call('HINCRBY', meta, 'superseded', superseded)
  remember_as_told(gone, now)
end
-- Something is always written: WAIT counts what this connection wrote, and a repetition must count the first time too.
if accepted < count then redis.call('HINCRBY', meta, 'refused', count - accepted) end
return answers
