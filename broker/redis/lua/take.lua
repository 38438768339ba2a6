-- Moves calls from the queues of one lane to one callee: about 1 MiB of them, so
-- that a reply that gets lost takes little with it, or one that is larger.
--
-- KEYS[1]  callees of the lane (sorted set: callee -> end of its lease)
-- KEYS[2]  taken by this callee (set of addresses)
-- then     for each URI to be looked at: calls (list), tokens of its bunch (sorted
--          set), cancelled (set of addresses)
-- then     tokens of bunches (sorted sets) to be looked through for more URIs with
--          calls
-- ARGV[1]  the callee
-- ARGV[2]  how many calls it can take (at most 3,000); 0: only see to the tokens
-- ARGV[3]  the URI to begin with, 0 for the first, so that none starves
-- ARGV[4]  how many URIs are to be looked at
-- then     addresses of calls taken before that are answered now (at most
--          3,000)
--
-- returns  {-1} when the callee's lease is over: nothing was taken
--          else {now in ms, 1 if more calls are waiting else 0, for each URI with
--          calls: its number (0 for the first), how many, the values; for each bunch
--          looked through that has tokens: -1, how many, the oldest 32 of them}
local call, sub, byte = redis.call, string.sub, string.byte
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local callees, taken = KEYS[1], KEYS[2]

local lease = call('ZSCORE', callees, ARGV[1])
local alive = lease and tonumber(lease) >= now

local result, size = {now, 0}, 2
local slots = alive and tonumber(ARGV[2]) or 0
local bytes = 1048576
local first, uris = tonumber(ARGV[3]), tonumber(ARGV[4])
local noted = false -- calls in the set of taken ones

-- Calls that were queued together have the same deadline as a rule: it is
-- parsed when another one comes.
local digits, deadline

-- Notes in the record of a call with a key that it is taken, or that its time was over
-- before, and returns whether it may be taken: it was not before, nor stopped. Which records
-- these are is known only now, so they are not among the keys; if the server refuses them,
-- as it may while it gives the slot away, the call is taken without a note.
local prefix = sub(taken, 1, -#ARGV[1] - 7) -- what the keys of the lane begin with
local function begins(address, over)
  local key = prefix .. 'keyed:' .. string.gsub(sub(address, 5, 16), '.', function(c)
    return string.format('%02x', byte(c))
  end)
  local record = redis.pcall('GET', key)
  if type(record) == 'table' then
    return not over
  elseif not record or sub(record, 2, 17) ~= sub(address, 17) or sub(record, 50, 50) ~= 'Q' then
    return false
  end
  redis.pcall('SET', key, sub(record, 1, 49) .. (over and 'X' or 'T') .. sub(record, 51), 'KEEPTTL')
  return not over
end

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
    local keyed = byte(value, 15) == 255 and sub(value, 15, 18) == '\255key'
    if not deadline then
      size = size + 1
      result[size] = value -- not ours: the callee reports it
    elseif keyed and begins(sub(value, 15, 46), deadline <= now) or not keyed and deadline > now then
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

-- Adds those of the URIs to asked that have calls, in the order that begins with the
-- first one: count of those between two places, counted here if it is not given.
-- As a rule there is one, so they are searched by halves.
local asked = {}
local function search(from, to, count)
  local numbers, lists = {}, {}
  for i = from, to do
    numbers[#numbers + 1] = (i + first) % uris
    lists[#lists + 1] = KEYS[3 * numbers[#numbers] + 3]
  end
  count = count or call('EXISTS', unpack(lists))
  if count == #numbers then
    for i = 1, count do
      asked[#asked + 1] = numbers[i]
    end
  elseif count > 0 then
    local half, before = math.floor((from + to) / 2), #asked
    search(from, half)
    search(half + 1, to, count - (#asked - before))
  end
end

-- One whose token is known is looked at in any case: it may have to be removed.
search(0, uris - 1, (uris < 2 or #KEYS > 3 * uris + 2) and uris or nil)

for _, uri in ipairs(asked) do
  local calls, tokens, cancelled = KEYS[3 * uri + 3], KEYS[3 * uri + 4], KEYS[3 * uri + 5]
  local start = size
  result[start + 1], result[start + 2] = uri, 0
  size = start + 2
  -- As a rule there is neither a token, which was popped, nor a mark.
  local left = call('EXISTS', tokens, cancelled)
  local marks = left > 0 and call('EXISTS', cancelled) or 0
  local empty = take(calls, cancelled, marks > 0)
  if size > start + 2 then
    result[start + 2] = size - start - 2
  else
    result[start + 1], result[start + 2] = nil, nil
    size = start
  end
  if empty then
    if left > 0 then -- nothing is queued that they could be about
      call('ZREM', tokens, calls)
      call('DEL', cancelled)
    end
  elseif call('EXISTS', calls) == 1 then
    result[2] = 1
    -- As above. A missing token is made good by the timeout of the blocking pop.
    if redis.pcall('ZADD', tokens, 'NX', now, calls) == 1 then
      call('PEXPIRE', tokens, math.max(call('PTTL', calls), 3600000))
    end
  end
end

for k = 3 * uris + 3, #KEYS do
  local waiting = call('ZRANGE', KEYS[k], 0, 31)
  if #waiting > 0 then
    result[size + 1], result[size + 2] = -1, #waiting
    size = size + 2
    for i = 1, #waiting do
      size = size + 1
      result[size] = waiting[i]
    end
  end
end

local known = 0
if #ARGV > 4 then
  known = call('SREM', taken, unpack(ARGV, 5))
end
if noted and known == 0 then
  call('PEXPIRE', taken, '60000') -- it may be new; announce.lua renews it
end
if not alive then
  return {-1}
end
return result
