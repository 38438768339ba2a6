-- Queues a batch of calls to URIs of one lane.
--
-- KEYS     for each URI: calls (list), cancelled (set of addresses), bunches of the
--          URI (string); then of the bunch that it is by itself, and of each
--          bunch that is named in ARGV: served (string), callees (sorted set),
--          tokens (sorted set); at last the watch over the lane (sorted set)
-- ARGV[1]  capacity of a URI's queue
-- ARGV[2]  1: refuse the calls to a URI that nobody serves; 0: queue them
-- then     for each URI, in the order of KEYS: what bunches is thought to hold (the
--          names of bunches, 17 bytes each), the number n of its calls (all
--          URIs together at most 4,000), then n times: the time left in ms,
--          the call's value without its head; the time may be left out where
--          it is that of the call before
--
-- returns  for each URI two values:
--          how many of its calls were queued, the first ones; -1: nobody
--          serves it, none was queued; -2: the server refused a command (out
--          of memory, a foreign value under the key), none was queued; -3:
--          bunches holds something else, none was queued
--          when the rest was refused because the queue is full: after how
--          many ms a retry is worth it; for -1 since when the lane has been
--          watched without a break, as dead.lua says, 0 if that is not known;
--          for -2 the server's error; for -3 what bunches holds; else 0

-- Puts heads before the values of n calls, which begin at first in ARGV, and
-- leaves them there without the times between them. Returns the longest time,
-- and where the next argument is. A time is shorter than any value.
local function add_heads(first, n)
  local arg, last = first, first + n - 1
  local longest, head = 0, nil
  while first <= last do
    local value = ARGV[arg]
    arg = arg + 1
    if #value < 32 then
      local left = tonumber(value)
      longest = math.max(longest, left)
      head = string.format('C%013.0f', now + left)
    else
      ARGV[first] = head .. value
      first = first + 1
    end
  end
  return longest, arg
end

local result = {}
local arg, k = 3, 1
while k < #KEYS do
  local calls, cancelled, named = KEYS[k], KEYS[k + 1], ARGV[arg]
  local n, first = tonumber(ARGV[arg + 1]), arg + 2
  local longest
  longest, arg = add_heads(first, n)
  local tokens, bunches = living(k, named)
  local accepted, more
  if not tokens then
    accepted, more = -3, bunches
  elseif discovery and #tokens == 0 then
    accepted, more = -1, tonumber(call('ZSCORE', KEYS[#KEYS], 'since') or 0)
  else
    if #tokens == 0 then
      tokens[1] = KEYS[k + 5]
    end
    accepted, more = push(calls, tokens, cancelled, first, n, longest)
  end
  if tokens and bunches ~= named then
    pcall('SET', KEYS[k + 2], bunches, 'KEEPTTL')
  end
  result[#result + 1] = accepted
  result[#result + 1] = more
  k = k + 6 + 3 * (#named / 17)
end
return result
