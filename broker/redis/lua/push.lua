-- Queues a batch of calls to URIs of one lane.
--
-- KEYS     for each URI: calls (list), wake (list), served (string)
-- ARGV[1]  capacity of a URI's queue
-- ARGV[2]  1: refuse the calls to a URI that nobody serves; 0: queue them
-- then     for each URI, in the order of KEYS: the number n of its calls (all
--          URIs together at most 4,000), then n times: the time left in ms,
--          the call's value without its head
--
-- returns  for each URI two values:
--          how many of its calls were queued, the first ones; -1: nobody
--          serves it, none was queued; -2: the server refused a command (out
--          of memory, a foreign value under the key), none was queued
--          when the rest was refused because the queue is full: after how
--          many ms a retry is worth it; for -2 the server's error; else 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local capacity = tonumber(ARGV[1])
local discovery = ARGV[2] == '1'

-- The time that the oldest call has waited: about what a new one would wait,
-- had the queue room for it.
local function drain_time(calls)
  local oldest = redis.call('LINDEX', calls, -1)
  local deadline = oldest and tonumber(string.sub(oldest, 2, 14))
  if not deadline or #oldest < 50 then
    return 1000
  end
  local a, b, c, d = string.byte(oldest, 47, 50)
  return now - (deadline - (((a * 256 + b) * 256 + c) * 256 + d))
end

local function expired(calls)
  local oldest = redis.call('LINDEX', calls, -1)
  local deadline = oldest and tonumber(string.sub(oldest, 2, 14))
  return deadline and deadline <= now
end

-- Queues calls, whose values stand in ARGV from first on. Errors of the server
-- are returned, not raised: they must not hide what happened to other URIs.
local function push(calls, wake, first, n)
  local length = redis.pcall('LLEN', calls)
  if type(length) == 'table' then
    return -2, length.err
  end
  local was_empty = length == 0
  -- Calls whose time is over take no room from others: the oldest are dropped
  -- here, the others at the take.
  while length + n > capacity and expired(calls) do
    redis.call('RPOP', calls)
    length = length - 1
  end
  local accepted = math.max(math.min(n, capacity - length), 0)
  if accepted > 0 then
    local values, longest = {}, 0
    for i = 1, accepted do
      local left = tonumber(ARGV[first + 2 * i - 2])
      longest = math.max(longest, left)
      values[i] = string.format('C%013.0f', now + left) .. ARGV[first + 2 * i - 1]
    end
    local pushed = redis.pcall('LPUSH', calls, unpack(values))
    if type(pushed) == 'table' then
      return -2, pushed.err
    end
    -- The key must outlive its calls. PEXPIRE ... GT would do nothing on a key
    -- without expiry, that is on every new one. A minute more than needed, so
    -- that this is written once a minute.
    if was_empty or redis.call('PTTL', calls) < longest then
      redis.call('PEXPIRE', calls, longest + 60000)
    end
    -- Who emptied the queue took the token, too.
    if was_empty or redis.call('EXISTS', wake) == 0 then
      redis.pcall('LPUSH', wake, '1')
      redis.call('PEXPIRE', wake, longest + 60000)
    end
  end
  if accepted == n then
    return n, 0
  end
  return accepted, math.min(math.max(drain_time(calls), 50), 10000)
end

local result = {}
local arg = 3
for k = 1, #KEYS, 3 do
  local calls, wake, served = KEYS[k], KEYS[k + 1], KEYS[k + 2]
  local n = tonumber(ARGV[arg])
  local accepted, more = -1, 0
  if not discovery or redis.call('EXISTS', served) == 1 then
    accepted, more = push(calls, wake, arg + 1, n)
  end
  result[#result + 1] = accepted
  result[#result + 1] = more
  arg = arg + 1 + 2 * n
end
return result
