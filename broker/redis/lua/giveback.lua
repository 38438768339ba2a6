-- Puts calls of one URI back at the head of the queue: they were taken, but
-- their callee does not start them.
--
-- KEYS[1]  calls (list)
-- KEYS[2]  taken by this callee (set of addresses)
-- KEYS[3]  bunches of the URI (string)
-- then     tokens (sorted set) of the bunch that the URI is by itself, and of each
--          bunch that is named in ARGV
-- ARGV[1]  what bunches is thought to hold
-- then     for each call, the last one taken first: its address, its value
--          (at most 2,000 calls)
--
-- returns  how many were put back: those no longer in the set were reported
--          lost meanwhile; what bunches holds if that is something else: then none
--          was put back
local bunches = redis.call('GET', KEYS[3]) or ''
if bunches ~= ARGV[1] then
  return bunches
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local values = {}
for i = 2, #ARGV, 2 do
  if redis.call('SREM', KEYS[2], ARGV[i]) == 1 then
    values[#values + 1] = ARGV[i + 1]
  end
end
if #values == 0 then
  return 0
end
local left = redis.call('PTTL', KEYS[1])
redis.call('RPUSH', KEYS[1], unpack(values))
if left < 0 then
  -- The queue had been emptied, and its expiry with it. An hour is longer
  -- than any call but a rare one waits; that one would end in 408.
  redis.call('PEXPIRE', KEYS[1], 3600000)
end
for k = 4, #KEYS do
  redis.call('ZADD', KEYS[k], 'NX', now, KEYS[1])
  redis.call('PEXPIRE', KEYS[k], 3600000)
end
return #values
