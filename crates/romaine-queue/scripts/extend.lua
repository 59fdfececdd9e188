-- Renews leases. ARGV: lease, then pairs id, state. Answers for each: 0 not this worker's any more, 1 renewed, 2 renewed
-- and its cancellation was asked for.
local now, lease = clock(), tonumber(ARGV[1])
local ids, answers, renewed = {}, {}, {}
local count = (#ARGV - 1) / 2
for i = 1, count do ids[i] = ARGV[2 * i] end
local found = redis.call('HMGET', states, unpack(ids))
local asked = redis.call('SMISMEMBER', cancels, unpack(ids))
for i = 1, count do
  if found[i] == ARGV[2 * i + 1] then
    renewed[#renewed + 1] = now + lease
    renewed[#renewed + 1] = ids[i]
    answers[i] = 1 + asked[i]
  else
    answers[i] = 0
  end
end
if #renewed > 0 then redis.call('ZADD', leases, 'XX', 'GT', unpack(renewed)) end
return answers
