-- Moves calls from the queues of one lane to one callee: about 1 MiB of them, so
-- that a reply that gets lost takes little with it, or one that is larger.
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
local call, sub = redis.call, string.sub
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local callees, taken = KEYS[1], KEYS[2]

local lease = call('ZSCORE', callees, ARGV[1])
local alive = lease and tonumber(lease) >= now

local result, size = {now, 0}, 2
local slots = alive and tonumber(ARGV[2]) or 0
local bytes = 1048576
local uris, first = (#KEYS - 2) / 3, tonumber(ARGV[3])
local noted = false -- calls in the set of taken ones

-- Calls that were queued together have the same deadline as a rule: it is
-- parsed when another one comes.
local digits, deadline

-- Adds those calls to the result whose time is not over and that were not
-- cancelled, and notes them as taken.
local function keep(popped, cancelled, check)
  local count = 0
  for i = 1, #popped do
    local value = popped[i]
    local d = sub(value, 2, 14)
    if d ~= digits then
      digits, deadline = d, tonumber(d)
    end
    if not deadline then
      size = size + 1
      result[size] = value -- not ours: the callee reports it
    elseif deadline > now then
      local address = sub(value, 15, 46)
      if not (check and call('SREM', cancelled, address) == 1) then
        size = size + 1
        result[size] = value
        count = count + 1
        popped[count] = address -- a table of its own would have to grow
      end
    end
  end
  if count > 0 then
    noted = true
    -- Out of memory this is refused, and what was popped must not be lost:
    -- without the entry a call only loses its 502 should the callee die.
    redis.pcall('SADD', taken, unpack(popped, 1, count))
  end
end

-- Pops up to wanted calls of one URI whose bytes fit into the reply; the first
-- one comes in any case. Returns them, the oldest first, and how many are left.
local function pop(calls, wanted)
  local oldest = call('RPOP', calls)
  if not oldest then
    return {}, 0
  end
  local popped, count = {oldest}, 1
  bytes = bytes - #oldest
  -- Pages are looked at before anything is popped. They grow as long as they fit,
  -- and are small where values are large: to look at such in vain takes long.
  local left, page, largest = call('LLEN', calls), 8, math.max(#oldest, 1)
  while left > 0 and count < wanted and bytes >= largest do
    local peeked = call('LRANGE', calls, -math.min(page, wanted - count, math.floor(bytes / largest)), -1)
    local fit = 0
    for i = #peeked, 1, -1 do
      bytes = bytes - #peeked[i]
      if bytes < 0 then
        break
      end
      largest = math.max(largest, #peeked[i])
      fit = fit + 1
      popped[count + fit] = peeked[i]
    end
    call('LTRIM', calls, 0, -fit - 1)
    count, left, page = count + fit, left - fit, 2 * page
  end
  if left > 0 and count < wanted then
    bytes = 0 -- the next one does not fit
  end
  return popped, left
end

-- Takes calls of one URI until the reply is full, dropping those whose time is
-- over or that were cancelled. Returns whether the queue is empty now.
local function take(calls, cancelled, check)
  while slots > 0 and bytes > 0 do
    local popped, left = pop(calls, slots)
    local before = size
    keep(popped, cancelled, check)
    slots = slots - (size - before)
    if left == 0 then
      return true
    end
  end
  return false
end

for i = 0, uris - 1 do
  local uri = (i + first) % uris
  local calls, wake, cancelled = KEYS[3 * uri + 3], KEYS[3 * uri + 4], KEYS[3 * uri + 5]
  local start = size
  result[start + 1], result[start + 2] = uri, 0
  size = start + 2
  -- As a rule there is neither a token, which was popped, nor a mark.
  local left = call('EXISTS', wake, cancelled)
  local marks = left > 0 and call('EXISTS', cancelled) or 0
  local empty = take(calls, cancelled, marks > 0)
  if size > start + 2 then
    result[start + 2] = size - start - 2
  else
    result[start + 1], result[start + 2] = nil, nil
    size = start
  end
  if empty then
    if left > 0 then
      call('DEL', wake, cancelled) -- nothing is queued that they could be about
    end
  elseif call('EXISTS', calls) == 1 then
    result[2] = 1
    -- As above. A missing token is made good by the timeout of the blocking pop.
    if left == marks then
      redis.pcall('LPUSH', wake, '1')
      call('PEXPIRE', wake, math.max(call('PTTL', calls), 1000))
    end
  end
end

local known = 0
if #ARGV > 3 then
  known = call('SREM', taken, unpack(ARGV, 4))
end
if noted and known == 0 then
  call('PEXPIRE', taken, '60000') -- it may be new; announce.lua renews it
end
if not alive then
  return {-1}
end
return result
