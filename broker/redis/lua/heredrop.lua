-- Removes some of the members that a stay has put which is over; without a channel the stay
-- itself, once nothing is left of it.
--
-- KEYS[1]  dead stays (sorted set: stay -> when another node may remove its members)
-- KEYS[2]  channels of the stay (hash: channel -> 1; '' -> number of its last command)
-- KEYS[3]  members of the channel that the stay has put (hash: user -> value)
-- KEYS[4]  members of the channel, of all nodes (hash, see heretell.lua)
-- ARGV[1]  the stay
-- ARGV[2]  how many members to remove, about
-- then     as ARGV[3] to ARGV[6] of here.lua
-- ARGV[7]  where to look for them: the cursor of a scan
--
-- returns  {1: nothing is left of the channel, or of the stay, else 0; what has changed; where
--          to go on}
call('ZREM', KEYS[1], '') -- a write that needs no memory: out of memory the others are let through
if not call('ZSCORE', KEYS[1], ARGV[1]) then
  return {1, '', '0'}
end
if #KEYS == 2 then
  if call('HLEN', KEYS[2]) > call('HEXISTS', KEYS[2], '') then
    return {0, '', '0'}
  end
  call('DEL', KEYS[2])
  call('ZREM', KEYS[1], ARGV[1])
  return {1, '', '0'}
end
local scan = call('HSCAN', KEYS[3], ARGV[7], 'COUNT', ARGV[2])
local page = scan[2]
for i = 1, #page, 2 do
  -- A scan may return a user twice.
  if call('HDEL', KEYS[3], page[i]) == 1 then
    shift(KEYS[4], page[i], -parse(page[i + 1]))
  end
end
local done = 0
if call('EXISTS', KEYS[3]) == 0 then
  call('HDEL', KEYS[2], ARGV[6])
  done = 1
end
return {done, tell(KEYS[4], ARGV[3], ARGV[4], ARGV[5]), scan[1]}
