-- How the queue is. Answers: the time; waiting, delayed, leased, dead; ms the oldest waits, or -1; ms until the first
-- delayed is due, or -1; the fields of meta; the consumers, up to 1000 of them; how many results are kept; how many
-- consumers there are.
local now = clock()
local waiting = 0
local oldest = -1
for _, list in ipairs({high, normal, low}) do
  waiting = waiting + redis.call('LLEN', list)
  -- A cancelled job leaves its id in the list: look past a few.
  for _, id in ipairs(redis.call('LRANGE', list, 0, 19)) do
    local state = redis.call('HGET', states, id)
    local since
    if state then
      since = tonumber(string.match(state, '^%d+:%d+:%d+:w(%d+)'))
    else
      local record = redis.call('HGET', jobs, id)
      if record then
        local _
        _, _, _, since = struct.unpack(HEADER, record)
      end
    end
    if since then
      oldest = math.max(oldest, now - since)
      break
    end
  end
end
local ghosts = tonumber(redis.call('HGET', meta, 'ghosts') or 0)
local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
local due = -1
if first then due = math.max(0, tonumber(first) - now) end
local seen = {}
local count = redis.call('HLEN', consumers)
if count <= 1000 then
  seen = redis.call('HGETALL', consumers)
elseif count > 0 then
  seen = redis.call('HRANDFIELD', consumers, 1000, 'WITHVALUES')
end
return {
  now, waiting - ghosts, redis.call('ZCARD', delayed), redis.call('ZCARD', leases), redis.call('ZCARD', dead), oldest, due,
  redis.call('HGETALL', meta), seen, redis.call('ZCARD', results_until), count,
}
