-- Events of an agent's outbox, each taken once however often it is sent. ARGV: the ledger's name, most events to keep,
-- then pairs of number and text. Answers the number of the last that is here.
local log, sent, ledger = KEYS[1], KEYS[2], ARGV[1]
local last = tonumber(redis.call('HGET', sent, ledger) or '0')
for i = 3, #ARGV, 2 do
  local number = tonumber(ARGV[i])
  if number > last then
    redis.call('XADD', log, 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[i + 1])
    last = number
  end
end
-- Only the ledger in use is remembered.
redis.call('DEL', sent)
redis.call('HSET', sent, ledger, last)
return last
