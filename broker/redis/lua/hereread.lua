-- Returns who is in a channel.
--
-- KEYS[1]  members of the channel, of all nodes (hash, see heretell.lua)
-- KEYS[2]  nodes (sorted set: stay of a node -> end of its lease in ms)
-- KEYS[3]  dead stays (sorted set)
-- ARGV[1]  how many members are returned at most: if there are more, none is
-- ARGV[2]  1: the channel is watched, so its changes have numbers from now on
--
-- returns  {the number of the last change; how many members there are; 1: the members of
--          a node are among them whose lease is over, else 0; user, value, and so on}
local call = redis.call
call('ZREM', KEYS[3], '') -- a server that is not the one to ask refuses it, as it does each write
local time = call('TIME')
local number = call('HGET', KEYS[1], '')
if not number and ARGV[2] == '1' then
  number = string.format('%.0f', time[1] * 1000000 + time[2])
  call('HSET', KEYS[1], '', number)
end
local count = call('HLEN', KEYS[1]) - (number and 1 or 0)
if count == 0 and ARGV[2] == '1' then
  call('PEXPIRE', KEYS[1], 3600000)
end
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local over = #call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. now, 'LIMIT', 0, 1)
local members = {}
if count > 0 and count <= tonumber(ARGV[1]) then
  members = call('HGETALL', KEYS[1])
end
return {number or '0', count, over, members}
