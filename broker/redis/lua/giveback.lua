-- Puts calls of one URI back at the head of the queue: they were taken, but
-- their callee does not start them.
--
-- KEYS[1]  calls (list)
-- KEYS[2]  wake (list)
-- KEYS[3]  taken by this callee (set of addresses)
-- ARGV     for each call, the last one taken first: its address, its value
--          (at most 2,000 calls)
--
-- returns  how many were put back: those no longer in the set were reported
--          lost meanwhile
local values = {}
for i = 1, #ARGV, 2 do
  if redis.call('SREM', KEYS[3], ARGV[i]) == 1 then
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
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('LPUSH', KEYS[2], '1')
  redis.call('PEXPIRE', KEYS[2], 3600000)
end
return #values
