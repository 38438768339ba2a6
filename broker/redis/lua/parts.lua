-- Gives a node its next parts: up to 512, and about 1 MiB of them; one comes in any case.
-- They stay in the list until the node says, in the next command on the same
-- connection, that it has them: so nothing is lost with a reply. Behind a lost
-- connection the node begins again, and gets what it had said nothing of once more.
--
-- KEYS[1]  parts (list)
-- KEYS[2]  how many bytes they have at most (string), as part.lua counts them
-- KEYS[3]  the reader that reads them (string)
-- ARGV[1]  the reader: a name that the node makes each time that it begins
-- ARGV[2]  1: it begins; 0: it goes on
-- ARGV[3]  how many parts to remove: those of the reply before
-- ARGV[4]  how many bytes have been removed that were not said here before. The node may
--          wait until these are many. If no parts are left there are none.
--
-- returns  {-1} if another reader has begun since, or the server has forgotten this
--          one: nothing was removed
--          else {1 if more parts may be left else 0, the parts, the oldest first}
local call = redis.call
local parts = KEYS[1]
local most, room = 512, 1048576
local found = call('MGET', KEYS[2], KEYS[3])
local bytes = tonumber(found[1]) or 0
local known = bytes

if ARGV[2] == '1' then
  -- Out of memory SET is refused as the first write of a script, and parts could not be
  -- read, which frees memory. This write is none that is refused.
  call('PEXPIRE', parts, '60000')
  call('SET', KEYS[3], ARGV[1], 'PX', '60000')
elseif found[2] ~= ARGV[1] then
  return {-1}
elseif ARGV[3] ~= '0' then
  call('LTRIM', parts, ARGV[3], -1)
  bytes = math.max(bytes - tonumber(ARGV[4]), 0)
end

local result, count = {0}, 0
-- If all fits it is read at once. Else pages are: they grow as long as they fit, and are
-- small where parts are large, for to read such in vain takes long.
local page, largest = most, 1
if bytes > room then
  local average = bytes / math.max(call('LLEN', parts), 1)
  page = math.max(math.min(8, math.floor(room / average)), 1)
end
while page > 0 do
  local values = call('LRANGE', parts, count, count + page - 1)
  local fit = 0
  for i = 1, #values do
    local size = #values[i]
    if size > room and count > 0 then
      break
    end
    room, largest = room - size, math.max(largest, size)
    fit, count = i, count + 1
    result[count + 1] = values[i]
  end
  if fit < page then -- the rest does not fit, or there is none
    result[1] = fit < #values and 1 or 0
    break
  end
  result[1] = 1
  page = math.min(2 * page, most - count, math.floor(math.max(room, 0) / largest))
end
if count == 0 then
  bytes = 0
end
if bytes ~= known then
  call('SET', KEYS[2], bytes, 'PX', '60000')
end
return result
