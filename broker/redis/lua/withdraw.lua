-- Ends the announcement of a callee on its URIs of one lane.
--
-- KEYS[1]  callees of the lane (sorted set: callee -> end of its lease)
-- KEYS[2]  taken by this callee (set of addresses)
-- KEYS[3]  stop (list), the callee's own wake-up
-- then     for each URI: served (string), callees of the URI (sorted set)
-- ARGV[1]  the callee
-- ARGV[2]  grace in ms: how long a URI stays served when its callees are gone
--
-- returns  the addresses of the calls that it has taken and not answered
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local grace = tonumber(ARGV[2])

redis.call('ZREM', KEYS[1], ARGV[1])
for k = 4, #KEYS, 2 do
  redis.call('ZREM', KEYS[k + 1], ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[k + 1], '-inf', now)
  if redis.call('EXISTS', KEYS[k + 1]) == 0 then
    if grace > 0 then
      redis.call('PEXPIRE', KEYS[k], grace)
    else
      redis.call('DEL', KEYS[k])
    end
  end
end
local left = redis.call('SMEMBERS', KEYS[2])
redis.call('DEL', KEYS[2], KEYS[3])
return left
