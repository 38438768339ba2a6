-- Changes what a node has put: how many sessions users have in a channel. What is as it is
-- put already changes nothing. A command without 0 sessions is refused out of memory, one
-- that begins with 0 is not.
--
-- KEYS[1]  nodes (sorted set: stay of a node -> end of its lease)
-- KEYS[2]  channels of the stay (hash: channel -> 1; '' -> number of its last command)
-- KEYS[3]  members of the channel that the stay has put (hash: user -> value)
-- KEYS[4]  members of the channel, of all nodes (hash, see heretell.lua)
-- KEYS[5]  if given: as KEYS[3], of the stay that this one follows: members move from there
-- ARGV[1]  the stay
-- ARGV[2]  the number of this command: one that is not above the last one comes too late
-- ARGV[3]  the command to publish with: PUBLISH or SPUBLISH
-- ARGV[4]  the name for those who watch the channel
-- ARGV[5]  the node, 16 bytes
-- ARGV[6]  the channel
-- then     of each user: name, sessions, info
--
-- returns  -1: the stay is over; 0: it came too late; else what has changed (see
--          heretell.lua), or '' if nothing has
if not call('ZSCORE', KEYS[1], ARGV[1]) then
  return -1
end
if tonumber(ARGV[2]) <= tonumber(call('HGET', KEYS[2], '') or 0) then
  return 0
end

local function put(user, sessions, info)
  local had, known = 0, nil
  for at = 3, #KEYS, 2 do
    local n, its = parse(call('HGET', KEYS[at], user))
    if n > 0 then
      had, known = had + n, known or its
    end
  end
  if sessions == 0 then
    for at = 3, #KEYS, 2 do
      call('HDEL', KEYS[at], user)
    end
    info = nil
  else
    call('HSET', KEYS[3], user, sessions .. ' ' .. info)
    if KEYS[5] then
      call('HDEL', KEYS[5], user)
    end
    if info == known then
      info = nil
    end
  end
  if sessions ~= had or info then
    shift(KEYS[4], user, sessions - had, info)
  end
end

if ARGV[8] ~= '0' then
  call('HSET', KEYS[2], '', ARGV[2], ARGV[6], 1)
end
for i = 7, #ARGV, 3 do
  put(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2])
end
if ARGV[8] == '0' then
  call('HSET', KEYS[2], '', ARGV[2])
  if call('EXISTS', KEYS[3]) == 0 then
    call('HDEL', KEYS[2], ARGV[6])
  end
end
return tell(KEYS[4], ARGV[3], ARGV[4], ARGV[5])
