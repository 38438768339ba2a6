-- Stops a call with a key for all who have joined it.
--
-- KEYS[1]  its record (string)
-- KEYS[2]  its parts (list)
-- KEYS[3]  records of its owner (sorted set)
-- KEYS[4]  calls of its URI (list)
-- ARGV[1]  the call's address
-- ARGV[2]  the outcome, as in a list of results
-- ARGV[3]  the lane's channel for cancellations
-- ARGV[4]  the command to publish with: PUBLISH or SPUBLISH
--
-- returns  two values: 1: it is stopped; 0: it had an outcome; -1: the record is of another
--          call now, or gone; with 1 the call's key, 16 bytes, and the nodes that are told
--          of news, 16 bytes each
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local r = read(KEYS[1])
if not r or r.second ~= sub(ARGV[1], 17) then
  return {-1, ''}
elseif not running(r) then
  return {0, ''}
end
local state, place = DONE, r.state == QUEUED and find(KEYS[4], ARGV[1])
if place then
  remove(KEYS[4], place)
  state = REFUSED
else
  redis.call(ARGV[4], ARGV[3], ARGV[1])
end
settle(r, state, ARGV[2], KEYS[1], KEYS[2], KEYS[3], now)
return {1, r.key .. r.nodes}
