-- Finds what a turn claimed whose answer was lost, and renews it. ARGV: lease, then the nonces of such turns.
-- Answers the jobs as a turn does.
local now, lease = clock(), tonumber(ARGV[1])
local claimed = {}
local leased = redis.call('ZRANGE', leases, 0, 49999)
local nonces = {}
for i = 2, #ARGV do nonces[ARGV[i]] = true end
for from = 1, #leased, 1000 do
  local ids = {unpack(leased, from, math.min(from + 999, #leased))}
  local found = redis.call('HMGET', states, unpack(ids))
  for i, state in ipairs(found) do
    local nonce = state and string.match(state, '^%d+:%d+:%d+:%d+%-([^:]+):')
    if nonce and nonces[nonce] then
      redis.call('ZADD', leases, 'XX', 'GT', now + lease, ids[i])
      claimed[#claimed + 1] = ids[i]
      claimed[#claimed + 1] = state
      claimed[#claimed + 1] = redis.call('HGET', jobs, ids[i]) or ''
      claimed[#claimed + 1] = redis.call('HGET', errors, ids[i]) or ''
    end
  end
end
return claimed
