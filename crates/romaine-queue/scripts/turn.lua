-- A worker's turn: reports what it finished, sweeps what is due, claims what it has room for. One call.
-- ARGV 1 consumer, 2 nonce, 3 lease, 4 how many at most, 5 and 6 within what time it is heard of again when it holds
-- nothing and when it holds something, 7 and 8 how long and how many finished ids are remembered, 9 dead letters at most,
-- 10 and 11 how long and how many results are kept, 12 how many it holds, 13 number of plain acknowledgements; these as
-- pairs id, state; then reports as op, id, state, unique key, a, b:
-- A done, S done with result b, R again after a ms because of b, X dead because of b, G given back, its attempt not
-- counted: after a ms and because of b, if they are given. H still runs: renewed before leases that ran out are looked for,
-- or a worker that was cut off would put back what it holds itself.
-- Answers: the time; ms until something is due, or -1; 1 paused, 2 rate, 4 cap, 8 more waits; the ids that were not this
-- worker's any more; the jobs as id, state, record, last error.
local SWEEP, CHUNK, CHUNK_BYTES, POPS = 100, 64, 16777216, 12
-- Checked before anything is written: an error in the middle would leave half a turn behind.
for i = 3, 13 do assert(natural(ARGV[i]), 'an argument that is no number') end
local first_report = 14 + 2 * tonumber(ARGV[13])
assert(first_report <= #ARGV + 1 and (#ARGV + 1 - first_report) % 6 == 0, 'arguments are missing')
for i = first_report, #ARGV, 6 do assert(natural(ARGV[i + 4]), 'an argument that is no number') end
local consumer, nonce, lease, want = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local window, window_most = tonumber(ARGV[7]), tonumber(ARGV[8])
local now = clock()
local setting = redis.call('HMGET', meta, 'paused', 'seen_at', 'cap', 'rate', 'burst', 'tokens', 'tokens_at',
  'window', 'window_most')
local lost, finished, counts = {}, {}, {}
local released = false

local function count(name, by) counts[name] = (counts[name] or 0) + by end

local function keep_result(id, result)
  redis.call('HSET', results, id, result)
  redis.call('ZADD', results_until, now + tonumber(ARGV[10]), id)
  local excess = redis.call('ZCARD', results_until) - tonumber(ARGV[11])
  if excess > 0 then
    local oldest = redis.call('ZRANGE', results_until, 0, math.min(excess, SWEEP) - 1)
    redis.call('ZREM', results_until, unpack(oldest))
    redis.call('HDEL', results, unpack(oldest))
  end
  redis.pcall('PUBLISH', results .. ':ready', id)
end

local function to_dead(id, priority, attempts, most, why, unique_key, token)
  bury(id, priority, attempts, most, why, unique_key, now, token)
  count('dead', 1)
  keep_result(id, 'x' .. why)
  local excess = redis.call('ZCARD', dead) - tonumber(ARGV[9])
  if excess > 0 then
    for _, oldest in ipairs(redis.call('ZRANGE', dead, 0, math.min(excess, SWEEP) - 1)) do
      erase(oldest, '')
      finished[#finished + 1] = oldest
      count('dropped', 1)
    end
  end
end

-- Back among the waiting: at the front what was interrupted, at the end what was delayed.
local function wait_again(id, priority, attempts, most, since, front)
  local list = ({high, normal, low})[priority + 1]
  redis.call(front and 'LPUSH' or 'RPUSH', list, id)
  redis.call('HSET', states, id, priority .. ':' .. attempts .. ':' .. most .. ':w' .. since)
  released = true
end

local function cancelled(id, unique_key)
  erase(id, unique_key)
  finished[#finished + 1] = id
  count('cancelled', 1)
end

local function to_delayed(id, priority, attempts, most, ms)
  redis.call('ZADD', delayed, now + ms, id)
  redis.call('HSET', states, id, priority .. ':' .. attempts .. ':' .. most .. ':d')
end

-- Where a job is that had the state of a lease and left it by nothing but the end of that lease; nil if anything else
-- happened to it since.
local function left_behind(found, state)
  local before, token = string.match(state, '^(%d+:%d+:%d+:)(%d+%-.*)$')
  if not found or not before then return nil end
  if found == before .. 'x' .. token then return DEAD end
  local since = string.match(found, '^%d+:%d+:%d+:w(%d+):')
  if since and found == before .. 'w' .. since .. ':' .. token then return WAITS end
  return nil
end

-- After so many milliseconds, or at once: in front of the others, or behind them.
local function again(id, priority, attempts, most, after, front)
  if after > 0 then
    to_delayed(id, priority, attempts, most, after)
  else
    wait_again(id, priority, attempts, most, now, front)
  end
end

-- Given back when its lease had run out: its attempt is not counted all the same. What waits keeps its place; what is dead
-- waits again, unless another job has its unique key by now.
local function late_back(place, found, id, state, unique_key, a, b)
  local priority, attempts, most = parts(state)
  if place == WAITS then
    local since = string.match(found, '^%d+:%d+:%d+:w(%d+):')
    redis.call('HSET', states, id, priority .. ':' .. (attempts - 1) .. ':' .. most .. ':w' .. since)
  else
    if unique_key ~= '' and redis.call('HSETNX', unique, unique_key, id) == 0 then return false end
    redis.call('ZREM', dead, id)
    redis.call('HDEL', results, id)
    redis.call('ZREM', results_until, id)
    count('revived', 1)
    again(id, priority, attempts - 1, most, tonumber(a), true)
  end
  if b ~= '' then redis.call('HSET', errors, id, b) end
  count('given_back', 1)
  return true
end

-- A report of a lease that ran out. While the job's state still shows its token nobody has claimed the job since, and
-- nobody has put it back by hand: what it came to counts. That it is to be tried again does not: it waits already, or has
-- no attempt left and is told why. Whether it was believed.
local function late(op, id, state, unique_key, a, b)
  local found = redis.call('HGET', states, id)
  local place = left_behind(found, state)
  if not place or (op == 'R' and place == WAITS) then return false end
  if op == 'G' then return late_back(place, found, id, state, unique_key, a, b) end
  if place == WAITS then count('ghosts', 1) end
  if op == 'A' or op == 'S' then
    erase(id, unique_key)
    finished[#finished + 1] = id
    count('done', 1)
    if place == DEAD then
      count('redeemed', 1)
      redis.call('HDEL', results, id)
      redis.call('ZREM', results_until, id)
    end
    if op == 'S' then keep_result(id, 'k' .. b) end
  elseif place == WAITS then
    local priority, attempts, most = parts(state)
    to_dead(id, priority, attempts, most, b, unique_key)
  else
    redis.call('HSET', errors, id, b)
    keep_result(id, 'x' .. b)
  end
  return true
end

local function report(op, id, state, unique_key, a, b)
  if op == 'H' then
    if redis.call('HGET', states, id) == state then redis.call('ZADD', leases, 'XX', 'GT', now + lease, id) end
    return
  end
  if redis.call('HGET', states, id) ~= state then
    if not late(op, id, state, unique_key, a, b) then lost[#lost + 1] = id end
    return
  end
  local priority, attempts, most = parts(state)
  if op == 'A' or op == 'S' then
    erase(id, unique_key)
    finished[#finished + 1] = id
    count('done', 1)
    if op == 'S' then keep_result(id, 'k' .. b) end
  elseif redis.call('SISMEMBER', cancels, id) == 1 then
    cancelled(id, unique_key)
  elseif op == 'X' or (op == 'R' and attempts >= most) then
    to_dead(id, priority, attempts, most, b, unique_key)
  elseif op == 'R' then
    redis.call('ZREM', leases, id)
    redis.call('HSET', errors, id, b)
    count('retried', 1)
    again(id, priority, attempts, most, tonumber(a), false)
  else
    redis.call('ZREM', leases, id)
    if b ~= '' then redis.call('HSET', errors, id, b) end
    count('given_back', 1)
    again(id, priority, attempts - 1, most, tonumber(a), true)
  end
end

local cursor = 14
local acknowledged = tonumber(ARGV[13])
if acknowledged > 0 then
  local ids, ours = {}, {}
  for i = 1, acknowledged do ids[i] = ARGV[12 + 2 * i] end
  local found = redis.call('HMGET', states, unpack(ids))
  for i = 1, acknowledged do
    if found[i] == ARGV[13 + 2 * i] then
      ours[#ours + 1] = ids[i]
      finished[#finished + 1] = ids[i]
    elseif not late('A', ids[i], ARGV[13 + 2 * i], '') then
      lost[#lost + 1] = ids[i]
    end
  end
  if #ours > 0 then
    redis.call('ZREM', leases, unpack(ours))
    redis.call('HDEL', jobs, unpack(ours))
    redis.call('HDEL', states, unpack(ours))
    if redis.call('EXISTS', cancels) == 1 then redis.call('SREM', cancels, unpack(ours)) end
    count('done', #ours)
  end
  cursor = cursor + 2 * acknowledged
end
while cursor < #ARGV do
  report(ARGV[cursor], ARGV[cursor + 1], ARGV[cursor + 2], ARGV[cursor + 3], ARGV[cursor + 4], ARGV[cursor + 5])
  cursor = cursor + 6
end

-- Leases that ran out: their workers died, or were cut off. The attempt was counted when it was claimed. The token stays in
-- the state: a worker that was only cut off may still tell what the job came to, as long as nobody else has claimed it.
local first = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
if first[2] and tonumber(first[2]) <= now then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, SWEEP)) do
    local state, record = redis.call('HGET', states, id), redis.call('HGET', jobs, id)
    count('expired_leases', 1)
    if not state or not record then
      redis.call('ZREM', leases, id)
    else
      local priority, attempts, most, token = parts(state)
      if redis.call('SISMEMBER', cancels, id) == 1 then
        cancelled(id, unique_of(record))
      elseif attempts >= most then
        local why = 'its worker did not report back within the lease'
        to_dead(id, priority, attempts, most, why, unique_of(record), token)
      else
        redis.call('ZREM', leases, id)
        wait_again(id, priority, attempts, most, now .. ':' .. token, true)
      end
    end
  end
end

-- Delayed jobs that are due.
local next_due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
if next_due[2] and tonumber(next_due[2]) <= now then
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'WITHSCORES', 'LIMIT', 0, SWEEP)
  for i = 1, #due, 2 do
    redis.call('ZREM', delayed, due[i])
    local state = redis.call('HGET', states, due[i])
    if state then
      local priority, attempts, most = parts(state)
      wait_again(due[i], priority, attempts, most, string.format('%.0f', due[i + 1]), false)
    end
  end
  next_due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
end

-- How many may be claimed.
local flags, limited_for = 0, -1
local asked = want
-- Settings that make no sense are none: they must not stop everything.
local function sound(text, otherwise)
  local number = tonumber(text)
  return number and number >= 0 and number < 1e15 and number or otherwise
end
local paused, rate = setting[1], sound(setting[4])
if rate == 0 then rate = nil end
local cap = natural(setting[3]) and tonumber(setting[3])
local tokens
if paused then
  flags, want = 1, 0
end
if cap then
  local room = cap - redis.call('ZCARD', leases)
  if room < want then flags, want = flags + 4, math.max(room, 0) end
end
if rate then
  local burst = sound(setting[5], 1)
  local since = math.max(0, now - sound(setting[7], now))
  tokens = math.min(burst, sound(setting[6], burst) + since * rate / 1000)
  if tokens < want then
    want = math.floor(tokens)
    limited_for = math.ceil((want + 1 - tokens) * 1000 / rate)
    flags = flags + 2
  end
end

local claims, ghosts, bytes, taken = {}, 0, 0, {}

-- A popped id is claimed only if its job is there and waits: a cancelled one leaves its id behind in the list. So an id
-- that was forgotten and enqueued again may be there twice, and what was read of it before the first is old by now.
local function admit(id, record, state)
  if taken[id] or not record or where(state) ~= WAITS then
    ghosts = ghosts + 1
    return
  end
  taken[id] = true
  local _, priority, most, _, expires, generation_kind, generation = struct.unpack(HEADER, record)
  if expires > 0 and expires <= now then
    erase(id, unique_of(record))
    finished[#finished + 1] = id
    count('expired', 1)
    return
  end
  if generation_kind == 1 then
    local _, unique_key, key = struct.unpack(NAMES, record, NAMES_AT)
    local newest = redis.call('HGET', generations, key)
    if newest and tonumber(string.match(newest, '^%d+')) > generation then
      erase(id, unique_key)
      finished[#finished + 1] = id
      count('superseded', 1)
      return
    end
  end
  local attempts = 0
  if state then
    local _
    _, attempts, most = parts(state)
  end
  bytes = bytes + #record
  claims[#claims + 1] = {id, priority .. ':' .. (attempts + 1) .. ':' .. most .. ':', record, state}
end

local lists, at, pops = {high, normal, low}, 1, 0
while #claims < want and at <= 3 and pops < POPS and bytes < CHUNK_BYTES do
  local size = math.min(want - #claims, CHUNK)
  local ids = redis.call('LPOP', lists[at], size)
  pops = pops + 1
  if not ids then
    at = at + 1
  else
    local found, known = redis.call('HMGET', jobs, unpack(ids)), redis.call('HMGET', states, unpack(ids))
    for i = 1, #ids do admit(ids[i], found[i], known[i]) end
    if #ids < size then at = at + 1 end
  end
end

local claimed = {}
if #claims > 0 then
  local token = redis.call('HINCRBY', meta, 'token', #claims) - #claims
  local new_states, new_leases, until_then = {}, {}, string.format('%.0f', now + lease)
  for i, claim in ipairs(claims) do
    local id, state = claim[1], claim[2] .. string.format('%.0f', token + i) .. '-' .. nonce .. ':' .. consumer
    new_states[2 * i - 1], new_states[2 * i] = id, state
    new_leases[2 * i - 1], new_leases[2 * i] = until_then, id
    local why = ''
    -- Without a state it was never claimed. An attempt that was given back is not counted, and left its reason all the same.
    if claim[4] then why = redis.call('HGET', errors, id) or '' end
    claimed[4 * i - 3], claimed[4 * i - 2], claimed[4 * i - 1], claimed[4 * i] = id, state, claim[3], why
  end
  redis.call('HSET', states, unpack(new_states))
  redis.call('ZADD', leases, unpack(new_leases))
  count('claimed', #claims)
end
if rate then redis.call('HSET', meta, 'tokens', tostring(tokens - #claims), 'tokens_at', now) end
if ghosts > 0 then count('ghosts', -ghosts) end
if #lost > 0 then count('fenced', #lost) end

-- Whoever leaves work behind wakes the next one; whoever may not claim now wakes nobody.
local exhausted = at > 3
if flags == 0 and not exhausted and (#claims == asked or pops == POPS or bytes >= CHUNK_BYTES or released) then
  if redis.call('EXISTS', high, normal, low) > 0 then
    flags = 8
    ring()
  end
end

-- It may claim more, and only ids that stand for nothing, or large jobs, were in the way: it comes again at once.
if not exhausted and #claims < want and flags < 8 and redis.call('EXISTS', high, normal, low) > 0 then flags = flags + 8 end

-- Nobody has to come back for a token while nothing waits: what is enqueued rings.
if limited_for >= 0 and redis.call('EXISTS', high, normal, low) == 0 then limited_for = -1 end
local next_in = limited_for
local function sooner(score)
  if score then
    local left = math.max(0, score - now)
    if next_in < 0 or left < next_in then next_in = left end
  end
end
sooner(tonumber(next_due[2] or nil))
if #claims == 0 then
  sooner(tonumber(redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')[2] or nil))
end
remember(finished, tonumber(setting[2] or nil), now, window, window_most)
-- Kept for what ends jobs without being a worker: it must not forget earlier.
if setting[8] ~= ARGV[7] or setting[9] ~= ARGV[8] then
  redis.call('HSET', meta, 'window', ARGV[7], 'window_most', ARGV[8])
end
for name, by in pairs(counts) do redis.call('HINCRBY', meta, name, by) end
local held = tonumber(ARGV[12]) + #claims
redis.call('HSET', consumers, consumer, now .. ':' .. (held > 0 and ARGV[6] or ARGV[5]) .. ':' .. held)
return {now, next_in, flags, lost, claimed}
