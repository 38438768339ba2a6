-- Ends the announcement of a callee in one lane.
--
-- KEYS[1]  callees of the lane (sorted set: callee -> end of its lease)
-- KEYS[2]  taken by this callee (set of addresses)
-- KEYS[3]  stop (sorted set), the callee's own token
-- KEYS[4]  URIs of the lane (sorted set: key "calls" -> ms until when somebody serves
--          it at least)
-- then     for each of its bunches: served (string), callees of the bunch (sorted set)
-- then     for each URI, in the order of bunches: calls (list)
-- ARGV[1]  the callee
-- ARGV[2]  grace in ms: how long a bunch stays served when its callees are gone
-- ARGV[3]  how many bunches it has, then how many URIs each of these has
-- then     addresses of calls taken before that are answered now (at most
--          3,000)
--
-- returns  the addresses of the calls that it has taken and not answered. Its
--          lease is over now: when whoever reads this reply cannot report
--          them, the reapers do. Once they are reported, the set may be
--          deleted and the callee removed from KEYS[1].
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local grace = tonumber(ARGV[2])

local bunches = tonumber(ARGV[3])
if #ARGV > 3 + bunches then
  redis.call('SREM', KEYS[2], unpack(ARGV, 4 + bunches))
end
redis.call('DEL', KEYS[3])
local uri = 5 + 2 * bunches
for b = 1, bunches do
  local k, uris = 3 + 2 * b, tonumber(ARGV[3 + b])
  redis.call('ZREM', KEYS[k + 1], ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[k + 1], '-inf', now)
  if redis.call('EXISTS', KEYS[k + 1]) == 0 then
    if grace > 0 then
      redis.call('PEXPIRE', KEYS[k], grace)
    else
      redis.call('DEL', KEYS[k])
    end
    for i = uri, uri + uris - 1 do
      redis.call('ZADD', KEYS[4], now + grace, KEYS[i])
    end
  end
  uri = uri + uris
end
if redis.call('PTTL', KEYS[4]) < grace + 10000 then -- nodes look four times in a lease
  redis.call('PEXPIRE', KEYS[4], grace + 10000)
end
local left = redis.call('SMEMBERS', KEYS[2])
if #left > 0 then
  redis.call('ZADD', KEYS[1], now - 1, ARGV[1])
  redis.call('PEXPIRE', KEYS[1], 60000)
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return left
