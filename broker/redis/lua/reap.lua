-- Forgets calls of a callee whose lease is over, once they were reported lost, and
-- the callee when it has none any more.
--
-- KEYS[1]  callees of the lane (sorted set: callee -> end of its lease)
-- KEYS[2]  taken by the callee (set of addresses)
-- ARGV[1]  the callee
-- then     the addresses of the calls (at most 3,000)
--
-- returns  1 if the callee is forgotten, else 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if #ARGV > 1 then
  redis.call('SREM', KEYS[2], unpack(ARGV, 2))
end
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if lease and tonumber(lease) <= now and redis.call('EXISTS', KEYS[2]) == 0 then
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
return 0
