-- Moves calls from the queues of one lane to one callee.
--
-- KEYS[1]  callees of the lane (sorted set: callee -> end of its lease)
-- KEYS[2]  taken by this callee (set of addresses)
-- then     for each URI of the callee in this lane:
--          calls (list), wake (list), cancelled (set of addresses)
-- ARGV[1]  the callee
-- ARGV[2]  how many calls it can take (at most 3,000); 0: only see to the
--          wake tokens
-- ARGV[3]  the URI to begin with, 0 for the first, so that none starves
-- then     addresses of calls taken before that are answered now (at most
--          3,000)
--
-- returns  {-1} when the callee's lease is over: nothing was taken
--          else {now in ms, 1 if more calls are waiting else 0, and for each
--          URI with calls: its number (0 for the first), how many, the values}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local callees, taken = KEYS[1], KEYS[2]

local lease = redis.call('ZSCORE', callees, ARGV[1])
local alive = lease and tonumber(lease) >= now

local result = {now, 0}
local addresses = {}
local slots = alive and tonumber(ARGV[2]) or 0
local uris = (#KEYS - 2) / 3

-- Takes up to slots calls of one URI, dropping those whose time is over or
-- that were cancelled. Returns whether the queue is empty now.
local function take(calls, cancelled, values)
  while slots > 0 do
    local wanted = slots
    local popped = redis.call('RPOP', calls, wanted)
    if not popped then
      return true
    end
    local check = redis.call('EXISTS', cancelled) == 1
    for _, value in ipairs(popped) do
      local deadline = tonumber(string.sub(value, 2, 14))
      local address = string.sub(value, 15, 46)
      if not deadline then
        values[#values + 1] = value -- not ours: the callee reports it
        slots = slots - 1
      elseif deadline > now and not (check and redis.call('SREM', cancelled, address) == 1) then
        values[#values + 1] = value
        addresses[#addresses + 1] = address
        slots = slots - 1
      end
    end
    if #popped < wanted then
      return true
    end
  end
  return false
end

for i = 0, uris - 1 do
  local uri = (i + tonumber(ARGV[3])) % uris
  local calls, wake, cancelled = KEYS[3 * uri + 3], KEYS[3 * uri + 4], KEYS[3 * uri + 5]
  local values = {}
  local empty = take(calls, cancelled, values)
  if #values > 0 then
    result[#result + 1] = uri
    result[#result + 1] = #values
    for _, value in ipairs(values) do
      result[#result + 1] = value
    end
  end
  if empty then
    -- Nothing is queued that a token or a mark could be about.
    redis.call('DEL', wake, cancelled)
  elseif redis.call('EXISTS', calls) == 1 then
    result[2] = 1
    -- Out of memory this is refused, and what was popped must not be lost: a
    -- missing token is made good by the timeout of the blocking pop.
    if redis.call('EXISTS', wake) == 0 then
      redis.pcall('LPUSH', wake, '1')
      redis.call('PEXPIRE', wake, math.max(redis.call('PTTL', calls), 1000))
    end
  end
end

if #addresses > 0 then
  -- As above: without the entry a call only loses its 502 should the callee die.
  redis.pcall('SADD', taken, unpack(addresses))
end
local known = 0
if #ARGV > 3 then
  known = redis.call('SREM', taken, unpack(ARGV, 4))
end
if #addresses > 0 and known == 0 then
  redis.call('PEXPIRE', taken, 60000) -- it may be new; announce.lua renews it
end
if not alive then
  return {-1}
end
return result
