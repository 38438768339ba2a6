-- Renews the lease of a callee on its URIs of one lane.
--
-- KEYS[1]  callees of the lane (sorted set: callee -> end of its lease)
-- KEYS[2]  taken by this callee (set of addresses)
-- then     for each URI: served (string), callees of the URI (sorted set)
-- ARGV[1]  the callee
-- ARGV[2]  length of the lease in ms
-- ARGV[3]  grace in ms: how long a URI stays served when its callees are gone
-- then     addresses of calls taken before that are answered now (at most
--          3,000)
--
-- returns  the number of calls that this callee has taken and not answered
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease, grace = tonumber(ARGV[2]), tonumber(ARGV[3])

-- Has a key live so long at least: a callee whose lease is longer may have said
-- more.
local function keep(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, ms)
  end
end

for k = 3, #KEYS, 2 do
  -- First of all a write that frees memory: out of memory the server refuses
  -- those that need some, unless the script has written already. Callees that
  -- live must not lose their lease.
  redis.call('ZREMRANGEBYSCORE', KEYS[k + 1], '-inf', now)
  redis.call('ZADD', KEYS[k + 1], now + lease, ARGV[1])
  keep(KEYS[k + 1], lease)
  if redis.call('PTTL', KEYS[k]) < lease + grace then
    redis.call('SET', KEYS[k], '1', 'PX', lease + grace)
  end
end
redis.call('ZADD', KEYS[1], now + lease, ARGV[1])
-- A dead callee must stay listed until the reapers have answered its calls.
keep(KEYS[1], lease + 60000)
if #ARGV > 3 then
  redis.call('SREM', KEYS[2], unpack(ARGV, 4))
end
redis.call('PEXPIRE', KEYS[2], 60000)
return redis.call('SCARD', KEYS[2])
