-- Gives a node its next parts: up to 512, and about 1 MiB of them; one comes in any case.
-- They stay in the list until the node says, in the next command on the same
-- connection, that it has them: so nothing is lost with a reply. Behind a lost
-- connection the node begins again, and gets what it had said nothing of once more.
--
-- KEYS[1]  parts (list)
-- KEYS[2]  what is known of that list (string): which reader reads it, and how many
--          bytes it has, as part.lua counts them
-- ARGV[1]  the reader: a name without spaces that the node makes each time that it begins
-- ARGV[2]  1: it begins; 0: it goes on
-- ARGV[3]  how many parts to remove: those of the reply before
-- ARGV[4]  how many bytes these have
--
-- returns  {-1} if another reader has begun since, or the server has forgotten this
--          one: nothing was removed
--          else {1 if more parts are left else 0, the parts, the oldest first}
local call = redis.call
local parts, state = KEYS[1], KEYS[2]
local most, room = 512, 1048576
local reader, bytes = string.match(call('GET', state) or '', '^(%S*) (%d+)$')
bytes = tonumber(bytes) or 0

local known = bytes
if ARGV[2] == '1' then
  -- Out of memory SET is refused as the first write of a script, and parts could not be
  -- read, which frees memory. This write is none that is refused.
  call('PEXPIRE', state, '60000')
  known = -1
elseif reader ~= ARGV[1] then
  return {-1}
elseif ARGV[3] ~= '0' then
  call('LTRIM', parts, ARGV[3], -1)
  bytes = math.max(bytes - tonumber(ARGV[4]), 0)
end
local left = call('LLEN', parts)
if left == 0 then
  bytes = 0
end
if bytes ~= known then
  call('SET', state, string.format('%s %.0f', ARGV[1], bytes), 'PX', '60000')
end

local result, count = {0}, 0
-- If all fits it is read at once. Else pages are: they grow as long as they fit, and are
-- small where parts are large, for to read such in vain takes long.
local page, largest = most, 1
if bytes > room then
  page = math.max(math.min(8, math.floor(left * room / bytes)), 1)
end
while count < left and count < most and page > 0 do
  local values = call('LRANGE', parts, count, count + math.min(page, most - count) - 1)
  page = 2 * page
  for i = 1, #values do
    local size = #values[i]
    if size > room and count > 0 then
      page = 0
      break
    end
    room, largest = room - size, math.max(largest, size)
    count = count + 1
    result[count + 1] = values[i]
  end
  page = math.min(page, math.floor(math.max(room, 0) / largest))
end
if count < left then
  result[1] = 1
end
return result
