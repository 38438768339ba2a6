-- Stores results for the nodes of one lane.
--
-- KEYS     for each node: node (string, exists while the node lives), results
--          (list)
-- ARGV[1]  how many results a node's list holds at most
-- then     for each node, in the order of KEYS: the number n of its results
--          (all nodes together at most 4,000), then the n values
--
-- returns  for each node how many were stored, the first ones; -1: the server does
--          not know the node, none was stored. Where the server refuses writes, also
--          the node's own, the script fails.
local call = redis.call
local capacity = tonumber(ARGV[1])
local stored = {}
local arg = 2
for k = 1, #KEYS, 2 do
  local n = tonumber(ARGV[arg])
  local count = n
  if call('EXISTS', KEYS[k]) == 0 then
    call('PEXPIRE', KEYS[k + 1], '60000') -- a write, that it may be refused
    count = -1
  else
    count = math.max(math.min(n, capacity - call('LLEN', KEYS[k + 1])), 0)
  end
  if count > 0 then
    call('LPUSH', KEYS[k + 1], unpack(ARGV, arg + 1, arg + count))
    call('PEXPIRE', KEYS[k + 1], '60000')
  end
  stored[#stored + 1] = count
  arg = arg + 1 + n
end
return stored
