-- Puts calls of one URI back at the head of the queue: they were taken, but
-- their callee does not start them.
--
-- KEYS[1]  calls (list)
-- KEYS[2]  taken by this callee (set of addresses)
-- KEYS[3]  bunches of the URI (string)
-- then     tokens (sorted set) of the bunch that the URI is by itself, and of each
--          bunch that is named in ARGV
-- then     for each call with a key, in the order of ARGV: its record (string)
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
local values, last = {}, 4 + #bunches / 17 -- of the keys of tokens
local records = last

-- Notes in the record of a call with a key that it is not taken, and returns whether that
-- may be: it was not stopped meanwhile.
local function untake(key, address)
  local record, sub = redis.call('GET', key), string.sub
  local state = record and sub(record, 2, 17) == sub(address, 17) and sub(record, 50, 50)
  if state == 'T' then
    redis.call('SET', key, sub(record, 1, 49) .. 'Q' .. sub(record, 51), 'KEEPTTL')
  end
  return state == 'T' or state == 'Q'
end

for i = 2, #ARGV, 2 do
  local keyed, back = string.sub(ARGV[i], 1, 4) == '\255key', redis.call('SREM', KEYS[2], ARGV[i]) == 1
  if keyed then
    records = records + 1
    back = back and untake(KEYS[records], ARGV[i])
  end
  if back then
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
for k = 4, last do
  redis.call('ZADD', KEYS[k], 'NX', now, KEYS[1])
  redis.call('PEXPIRE', KEYS[k], 3600000)
end
return #values
