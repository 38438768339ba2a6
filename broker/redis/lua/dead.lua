-- Lists the callees of one lane whose lease is over, and the URIs that may have lost
-- their last one, and notes that somebody looks after the lane.
--
-- KEYS[1]  callees of the lane (sorted set: callee -> end of its lease)
-- KEYS[2]  watch over the lane (sorted set: "since" -> ms since when there was
--          never half a lease in which nobody looked, "last" -> when somebody did)
-- KEYS[3]  URIs of the lane (sorted set: key "calls" -> ms until when somebody serves
--          it at least)
-- ARGV[1]  length of a lease in ms
-- ARGV[2]  how many callees to leave out, the first ones
-- ARGV[3]  how many URIs to leave out, the first ones
-- ARGV[4]  how many callees to return at most
-- ARGV[5]  how many URIs to return at most
--
-- returns  since, {for each callee: its name, the end of its lease}, {for each URI
--          whose time is over: its key "calls", the time}. There are no callees as
--          long as since is less than a lease ago: nobody could say that he lives
--          while the server was away, or its clock was set. For URIs this is for
--          those to see to who know of an earlier since.
local call = redis.call
local callees, watch = KEYS[1], KEYS[2]
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[1])

-- First of all, as a server that is out of memory refuses the others else: what is
-- still listed has no calls any more, whose set has expired.
if ARGV[2] == '0' then
  call('ZREMRANGEBYSCORE', callees, '-inf', now - lease - 120000)
end
call('PEXPIRE', watch, lease)
local since, last = call('ZSCORE', watch, 'since'), call('ZSCORE', watch, 'last')
since, last = tonumber(since or now), tonumber(last or 0)
if math.abs(now - last) > lease / 2 then
  since = now
end
call('ZADD', watch, since, 'since', now, 'last')
call('PEXPIRE', watch, lease)
local uris = call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'WITHSCORES', 'LIMIT', ARGV[3], ARGV[5])
if now - since < lease then
  return {since, {}, uris}
end
-- The clock was set back, and they have not renewed their leases since then.
for _, callee in ipairs(call('ZRANGEBYSCORE', callees, now + 120000, '+inf', 'LIMIT', 0, 100)) do
  call('ZADD', callees, now - 1, callee)
end
return {since, call('ZRANGEBYSCORE', callees, '-inf', now, 'WITHSCORES', 'LIMIT', ARGV[2], ARGV[4]), uris}
