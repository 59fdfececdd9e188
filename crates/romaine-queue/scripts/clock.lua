-- The server's time in milliseconds. Nobody else's clock is ever asked.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
