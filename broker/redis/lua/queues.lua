-- Reads how many calls wait for the URIs of one lane, and how many callees these have. It
-- writes nothing.
--
-- KEYS[1]  URIs of the lane (sorted set: key "calls" -> ms until when somebody serves
--          it at least)
-- ARGV[1]  how many URIs are looked at, at most
-- ARGV[2]  how many bytes of URIs and of names of callees are read together; with as
--          many, the rest is not looked at
-- ARGV[3]  how many callees of a bunch are counted, at most
--
-- returns  1 if all URIs were looked at, else 0; then of each that has callees or calls:
--          the URI, how many calls wait, how many callees live
local call, sub = redis.call, string.sub
local time = call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local most, room = tonumber(ARGV[1]), tonumber(ARGV[2])

-- Which URIs there are is known only now, so their keys are not among the keys.
local prefix = sub(KEYS[1], 1, -5) -- what those of the lane begin with

-- Returns how many callees of a bunch live. The bunches of many URIs are the same.
local counted = {}
local function living(callees)
  local count = counted[callees]
  if not count then
    local names = call('ZRANGEBYSCORE', callees, now, '+inf', 'LIMIT', 0, ARGV[3])
    count = #names
    counted[callees] = count
    room = room - count * 26
  end
  return count
end

local lists = call('ZRANGE', KEYS[1], 0, most)
local result = {#lists <= most and 1 or 0}
for i = 1, math.min(#lists, most) do
  if room <= 0 then
    result[1] = 0
    break
  end
  local uri = sub(lists[i], #prefix + 7) -- behind "calls:"
  local calls, callees = call('LLEN', lists[i]), living(prefix .. 'callees:' .. uri)
  for bunch in string.gmatch(call('GET', prefix .. 'bunches:' .. uri) or '', '%x+') do
    callees = callees + living(prefix .. 'bunch-callees:' .. bunch)
  end
  if calls + callees > 0 then
    result[#result + 1] = uri
    result[#result + 1] = calls
    result[#result + 1] = callees
    room = room - #uri
  end
end
return result
