-- Cancels jobs by id. Answers for each: 0 unknown, 1 removed before it ran, 2 running: its worker will be told with its
-- next heartbeat.
local now = clock()
local answers, gone = {}, {}
for i, id in ipairs(ARGV) do
  local record, state = redis.call('HGET', jobs, id), redis.call('HGET', states, id)
  local place = where(state)
  if not record then
    answers[i] = 0
  elseif place == LEASED then
    redis.call('SADD', cancels, id)
    answers[i] = 2
  else
    erase(id, unique_of(record))
    if place == WAITS then redis.call('HINCRBY', meta, 'ghosts', 1) end
    gone[#gone + 1] = id
    answers[i] = 1
  end
end
if #gone > 0 then
  redis.call('HINCRBY', meta, 'cancelled', #gone)
  remember_as_told(gone, now)
end
return answers
