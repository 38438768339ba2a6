-- Reads a table in the order of its names, a page of it.
--
-- ARGV[1]  the names to read, as ZRANGE has them: those from here on
-- ARGV[2]  how many, at most
-- ARGV[3]  of how many bytes together; with as many, the rest is not read
--
-- returns  the time, ms; 1 if there may be more behind them, else 0; then of each its name,
--          and what the hash has

-- A server that is not the one to ask any more refuses each write, and this is one. Other
-- reasons to refuse writes (no disk) are none to read.
local refused = redis.pcall('ZREMRANGEBYSCORE', KEYS[3], 1, 0)
if type(refused) == 'table' then
  if string.find(refused.err, 'READONLY ', 1, true) or string.find(refused.err, 'NOREPLICAS ', 1, true) then
    return refused
  end
else
  remove()
end
local most, room, part = tonumber(ARGV[2]), tonumber(ARGV[3]), 32
local names = redis.call('ZRANGE', KEYS[2], ARGV[1], '+', 'BYLEX', 'LIMIT', 0, most)
local page = {now, #names == most and 1 or 0}
for first = 1, #names, part do
  local some = {unpack(names, first, math.min(first + part - 1, #names))}
  for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(some))) do
    page[#page + 1] = some[i]
    page[#page + 1] = value or ''
    room = room - #some[i] - (value and #value or 0)
  end
  if room <= 0 then
    page[2] = 1
    break
  end
end
return page
