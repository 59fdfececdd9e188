-- A count or a time in milliseconds, as an argument must be.
local function natural(text)
  local number = tonumber(text)
  return number and number >= 0 and number < 1e15 and number % 1 == 0
end

-- Lets go of a unique key, if it is still this job's.
local function release(unique_key, id)
  if unique_key ~= '' and redis.call('HGET', unique, unique_key) == id then
    redis.call('HDEL', unique, unique_key)
  end
end

-- The unique key in a record.
local function unique_of(record)
  local _, unique_key = struct.unpack(NAMES, record, NAMES_AT)
  return unique_key
end

-- Ends a job for good. What stays is the memory of its id, and its result if it has one.
local function erase(id, unique_key)
  redis.call('ZREM', leases, id)
  redis.call('ZREM', delayed, id)
  redis.call('ZREM', dead, id)
  redis.call('HDEL', jobs, id)
  redis.call('HDEL', states, id)
  redis.call('HDEL', errors, id)
  redis.call('SREM', cancels, id)
  release(unique_key, id)
end

-- To the dead letters. With the token of its lease, if that ran out: see left_behind.
local function bury(id, priority, attempts, most, why, unique_key, now, token)
  redis.call('ZREM', leases, id)
  redis.call('ZREM', delayed, id)
  redis.call('ZADD', dead, now, id)
  redis.call('HSET', states, id, priority .. ':' .. attempts .. ':' .. most .. ':x' .. (token or ''))
  redis.call('HSET', errors, id, why)
  redis.call('SREM', cancels, id)
  release(unique_key, id)
end

-- Remembers finished ids for a while, in two sets that take turns: seen0 is written, seen1 is the one before.
local function remember(ids, seen_at, now, window, most)
  if #ids == 0 then return end
  local fresh = not seen_at or now - seen_at > window or redis.call('SCARD', seen0) >= most
  if fresh then
    if redis.call('EXISTS', seen0) == 1 then redis.call('RENAME', seen0, seen1) end
    redis.call('HSET', meta, 'seen_at', now)
  end
  -- In pieces: Lua hands over no more than some thousands at once.
  for i = 1, #ids, 1000 do redis.call('SADD', seen0, unpack(ids, i, math.min(i + 999, #ids))) end
  -- A set begun by a worker that remembers for a shorter time would end too early. Never shortened: the ids in it count.
  if redis.call('PTTL', seen0) < 2 * window then redis.call('PEXPIRE', seen0, 3 * window) end
end

-- The same where no worker says how long: as the last one did, or a minute.
local function remember_as_told(ids, now)
  local told = redis.call('HMGET', meta, 'seen_at', 'window', 'window_most')
  local window, most = tonumber(told[2] or nil) or 60000, tonumber(told[3] or nil) or 100000
  remember(ids, tonumber(told[1] or nil), now, window, most)
end

-- One element in the bell wakes one blocked consumer; more than one would wake them for nothing.
local function ring()
  if redis.call('LLEN', bell) == 0 then redis.call('RPUSH', bell, '1') end
end
