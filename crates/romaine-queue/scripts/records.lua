-- A record: version, priority, attempts at most, enqueued at, expires at, kind of generation, generation (29 bytes), then
-- the kind, the unique key and the generation's key, each after its length, then the payload.
local HEADER, NAMES, NAMES_AT = '>BBHI8I8BI8', '>Hc0Hc0Hc0', 30

-- A state is `priority:attempts:most:mark`. Marks: w<ms> waits again since then, d delayed, x dead, and for a leased job
-- its token: <counter>-<nonce>:<consumer>. What waits or is dead because its lease ran out keeps the token: w<ms>:<token>,
-- x<token>. A job without a state waits and was never claimed.
local function parts(state)
  local priority, attempts, most, mark = string.match(state, '^(%d+):(%d+):(%d+):(.*)$')
  return priority, tonumber(attempts), tonumber(most), mark
end

local WAITS, DELAYED, DEAD, LEASED = 'w', 'd', 'x', 'l'

-- Which of the four a state is.
local function where(state)
  if not state then return WAITS end
  local mark = string.match(state, '^%d+:%d+:%d+:(.)')
  if mark == 'w' or mark == 'd' or mark == 'x' then return mark end
  return LEASED
end
