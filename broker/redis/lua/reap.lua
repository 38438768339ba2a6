-- Finds the calls of one node that were taken by callees of one lane whose
-- lease is over.
--
-- KEYS[1]  callees of the lane (sorted set: callee -> end of its lease)
-- ARGV[1]  the node (16 bytes)
-- ARGV[2]  what the name of a callee's set of taken calls begins with, before
--          the callee; it is in the slot of KEYS[1]
--
-- returns  for each such callee with calls of this node: the callee, how many
--          (at most 1,000), their addresses
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local result = {}
for _, callee in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)) do
  local taken = redis.call('SMEMBERS', ARGV[2] .. callee)
  if #taken == 0 then
    -- Answered or expired: nobody needs this callee's name any more.
    redis.call('ZREM', KEYS[1], callee)
  end
  local mine = {}
  for _, address in ipairs(taken) do
    if #mine < 1000 and string.sub(address, 1, 16) == ARGV[1] then
      mine[#mine + 1] = address
    end
  end
  if #mine > 0 then
    result[#result + 1] = callee
    result[#result + 1] = #mine
    for _, address in ipairs(mine) do
      result[#result + 1] = address
    end
  end
end
return result
