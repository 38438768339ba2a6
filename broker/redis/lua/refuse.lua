-- Takes calls of one node, and those with a key of any, back from the queues of URIs that
-- nobody serves any more.
--
-- KEYS[1]  URIs of the lane (sorted set: key "calls" -> ms until when somebody serves
--          it at least)
-- KEYS[2]  refused: those taken back for the node that it may not know of (set of
--          addresses)
-- then     for each URI: calls (list), cancelled (set of addresses), bunches of the
--          URI (string); then of the bunch that it is by itself, and of each bunch
--          that is named in ARGV: served (string), callees (sorted set), tokens
--          (sorted set)
-- ARGV[1]  the first 16 bytes of the node's addresses
-- ARGV[2]  how many addresses of refused the node knows of (at most 512), then these
-- then     for each URI: what bunches is thought to hold, and how many queued calls
--          not to look at, the oldest ones: they are others'
--
-- returns  {the addresses in refused, then for each URI how many calls not to look
--          at next time; -1: none of the node's is left there, or somebody serves
--          it; what bunches holds if that is something else}. About 512 calls, or
--          1 MiB of them, are looked at, so that the script stays short.
local call, sub = redis.call, string.sub
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local uris, refused, node = KEYS[1], KEYS[2], ARGV[1]
-- First of all a write that frees memory: out of memory the server refuses others else.
call('PEXPIRE', refused, 60000)
local known = tonumber(ARGV[2])
if known > 0 then
  call('SREM', refused, unpack(ARGV, 3, known + 2))
end
local left, bytes = 512 - call('SCARD', refused), 1048576

-- Looks at the calls of one URI from the skip-th oldest on. Those of the node are taken
-- out, and those that nobody waits for: their time is over or they were cancelled.
-- Returns how many were left before the next one to look at; -1: there is none.
local function take_back(calls, cancelled, skip)
  local marks = call('EXISTS', cancelled) == 1
  local at, taken = skip, 0
  while left > 0 and bytes > 0 do
    local value = redis.pcall('LINDEX', calls, -at - 1)
    if type(value) ~= 'string' then -- the newest was before, or the key is not ours
      at = -1
      break
    end
    left, bytes = left - 1, bytes - #value
    local deadline, address = tonumber(sub(value, 2, 14)), sub(value, 15, 46)
    local keyed = sub(address, 1, 4) == '\255key'
    local unwanted = not keyed and deadline and (deadline <= now or marks and call('SREM', cancelled, address) == 1)
    if unwanted or keyed or sub(address, 1, 16) == node then
      call('LSET', calls, -at - 1, '')
      taken = taken + 1
      if not unwanted then
        call('SADD', refused, address)
      end
    end
    at = at + 1
  end
  if taken > 0 then
    call('LREM', calls, -taken, '')
  end
  return at < 0 and at or at - taken
end

-- Returns for how long in ms one of count bunches, whose keys begin at k, is served; at
-- most 0: none is.
local function served(k, count)
  local longest = 0
  for g = 0, count - 1 do
    longest = math.max(longest, call('PTTL', KEYS[k + 3 * g]), call('PTTL', KEYS[k + 3 * g + 1]))
  end
  return longest
end

local result = {false}
local k, arg = 3, known + 3
while k <= #KEYS do
  local calls, cancelled, named = KEYS[k], KEYS[k + 1], ARGV[arg]
  local count = #named / 17 + 1
  local bunches = call('MGET', KEYS[k + 2])[1] or ''
  local time_left = served(k + 3, count)
  local next = -1
  if bunches ~= named then
    next = bunches
  elseif time_left > 0 then
    call('ZADD', uris, now + time_left, calls)
  else
    next = take_back(calls, cancelled, tonumber(ARGV[arg + 1]))
    if call('EXISTS', calls) == 0 then
      for g = 1, count do
        call('ZREM', KEYS[k + 2 + 3 * g], calls)
      end
      call('DEL', cancelled)
      call('ZREM', uris, calls)
    end
  end
  result[#result + 1] = next
  k, arg = k + 3 + 3 * count, arg + 2
end
call('PEXPIRE', refused, 60000)
result[1] = call('SMEMBERS', refused)
return result
