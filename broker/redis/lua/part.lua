-- Stores parts of answers for the nodes of one lane. A node reads them with parts.lua.
--
-- KEYS     for each node: node (string, exists while the node lives), parts (list,
--          the oldest first), how many bytes these have at most (string), token
--          (sorted set: it says that there are parts)
-- ARGV[1]  how many bytes a node's list holds at most; each part counts 64 more
--          than it has, and one fits into an empty list in any case
-- then     for each node, in the order of KEYS: the number n of its parts (all
--          nodes together at most 4,000), then the n values
--
-- returns  for each node how many were stored, the first ones; -1: the server does
--          not know the node, -2: it has closed, none was stored; or the server's
--          error, as a string, where it has refused a command and none was stored
local call, pcall = redis.call, redis.pcall
local ARGV = ARGV -- globals are looked up at each use
local capacity = tonumber(ARGV[1])

-- Returns how many of n values, which begin at first in ARGV, fit into a list that has
-- so many bytes, and how many bytes it has then.
local function fitting(first, n, bytes)
  for i = 0, n - 1 do
    local more = bytes + #ARGV[first + i] + 64
    if more > capacity and bytes > 0 then
      return i, bytes
    end
    bytes = more
  end
  return n, bytes
end

-- Errors of the server are returned, not raised: they must not hide what happened to
-- other nodes.
local function store(k, first, n)
  local found = call('MGET', KEYS[k], KEYS[k + 2])
  if not found[1] then
    local refused = pcall('PEXPIRE', KEYS[k + 1], '60000') -- a write, that it may be refused
    if type(refused) == 'table' then
      return refused.err
    end
    return found[2] == 'closed' and -2 or -1
  end
  local count, bytes = fitting(first, n, tonumber(found[2]) or 0)
  if count == 0 then
    return 0
  end
  local length = pcall('RPUSH', KEYS[k + 1], unpack(ARGV, first, first + count - 1))
  if type(length) == 'table' then
    return length.err
  end
  call('SET', KEYS[k + 2], bytes, 'PX', '60000')
  if length == count then
    call('PEXPIRE', KEYS[k + 1], '60000') -- the node renews it
  end
  if pcall('ZADD', KEYS[k + 3], 'NX', '0', '') == 1 then
    call('PEXPIRE', KEYS[k + 3], '60000')
  end
  return count
end

local stored, arg = {}, 2
for k = 1, #KEYS, 4 do
  local n = tonumber(ARGV[arg])
  stored[#stored + 1] = store(k, arg + 1, n)
  arg = arg + 1 + n
end
return stored
