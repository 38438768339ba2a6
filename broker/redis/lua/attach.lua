-- Makes a call with a key, or joins it.
--
-- KEYS[1]  its record (string)
-- KEYS[2]  its parts (list)
-- KEYS[3]  records of its owner (sorted set: the last 24 bytes of their keys -> when each
--          ends, ms)
-- then     those of its URI, as for push.lua, and the watch over the lane
-- ARGV[1]  capacity of a URI's queue
-- ARGV[2]  1: refuse calls to a URI that nobody serves; 0: queue them
-- ARGV[3]  what bunches is thought to hold
-- ARGV[4]  1: only join; 0: make the call if there is none
-- ARGV[5]  the call's key, 16 bytes
-- ARGV[6]  a hash of its arguments, 16 bytes
-- ARGV[7]  the node
-- ARGV[8]  the time of the call in ms
-- ARGV[9]  for how many ms its outcome is kept
-- ARGV[10] how many bytes the parts may have that are kept; 0: none are kept
-- ARGV[11] how many records the owner may have
-- ARGV[12] the call's value without its head
-- ARGV[13] the outcome of a call whose callee was lost, behind the address, if such a call,
--          and one whose time is over, is made anew; else nothing
--
-- returns  two values: 1: the call was made, 2: it runs, 3: it has an outcome; 0: there is
--          no record; -1 to -3: as push.lua says; -4: the queue is full; -5: the arguments
--          are others; -6: the owner has so many records
--          what push.lua says of it; else 0
local record, parts, owner, calls = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local join, key, args, node = ARGV[4] == '1', ARGV[5], ARGV[6], ARGV[7]
local timeout, keep, owned = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[11])
local name = sub(record, -24)
local before = call('GET', record)
local r = before and parse(before)
if before and not (r and r.key == key) then
  return {-2, 'WRONGTYPE another value under the key of a record'}
end

-- A call whose time was over in the queue was never taken.
local old = r and r.state == QUEUED and r.deadline <= now and
  find(calls, '\255key' .. sub(key, 1, 12) .. r.second)
local refused = r and (old or r.state == REFUSED or r.state == EXPIRED)
-- How often it was made; what was certainly never taken does not count.
local attempt = r and string.byte(r.second, 16) or 1
-- An attempt before one that was refused may have run with these arguments.
local anew = refused and (attempt == 1 or r.args == args)
if r and not refused and ARGV[13] ~= '' and r.args == args and
  (running(r) and r.deadline <= now or sub(r.outcome, 18) == ARGV[13]) then
  anew, attempt = true, math.min(attempt + 1, 255)
end

-- Adds the node to those that are told of news; of more than 32 the first goes. Returns
-- whether it is new.
local function attach(nodes)
  for at = 1, #nodes, 16 do
    if sub(nodes, at, at + 15) == node then
      return nodes, false
    end
  end
  return sub(nodes, -31 * 16) .. node, true
end

if r and (join or not anew) then
  if not join and r.args ~= args then
    return {-5, 0}
  end
  call('GETEX', record) -- a write, that a replica refuses, and that the others are done after out of memory
  local nodes, changed = attach(r.nodes)
  r.nodes = nodes
  if old then
    remove(calls, old)
    r.state, changed = EXPIRED, true
  end
  if changed then
    call('SET', record, format(r), 'KEEPTTL')
  end
  return {running(r) and 2 or 3, 0}
elseif join then
  call('GETEX', record)
  return {0, 0}
end

local tokens, bunches = living(4, ARGV[3])
if not tokens then
  return {-3, bunches}
elseif discovery and #tokens == 0 then
  return {-1, tonumber(call('ZSCORE', KEYS[#KEYS], 'since') or 0)}
elseif #tokens == 0 then
  tokens[1] = KEYS[9]
end

local counted = call('ZSCORE', owner, name)
local rest = before and call('PTTL', record)
ARGV[12] = sub(ARGV[12], 1, 31) .. string.char(attempt) .. sub(ARGV[12], 33)
r = {
  second = sub(ARGV[12], 17, 32), key = key, args = args, state = QUEUED, deadline = now + timeout, keep = keep,
  most = tonumber(ARGV[10]), first = 0, last = 0, bytes = 0, nodes = attach(r and r.nodes or ''), outcome = '',
}
-- First of all, as a server that is out of memory refuses it.
local made = pcall('SET', record, format(r), 'PX', timeout + keep)
if made.err then
  return {-2, made.err}
end

local function undo()
  if before then
    call('SET', record, before, 'PX', math.max(rest, 1))
  else
    call('DEL', record)
  end
end

call('ZREMRANGEBYSCORE', owner, '-inf', now)
if not counted and #call('ZRANGE', owner, owned - 1, owned - 1) > 0 then
  undo()
  return {-6, 0}
end
if old then
  remove(calls, old)
end
ARGV[12] = string.format('C%013.0f', now + timeout) .. ARGV[12]
local accepted, more = push(calls, tokens, KEYS[5], 12, 1, timeout)
if bunches ~= ARGV[3] then
  pcall('SET', KEYS[6], bunches, 'KEEPTTL')
end
if accepted < 1 then
  undo()
  return {accepted == 0 and -4 or accepted, more}
end
call('DEL', parts)
call('ZADD', owner, now + timeout + keep, name)
expire(owner, now)
return {1, 0}
