-- Pops results of one node: up to 512, and about 1 MiB of them, so that a reply
-- that gets lost takes little with it. One comes in any case.
--
-- KEYS[1]  results (list)
--
-- returns  the results, the oldest first
local call = redis.call
local results = KEYS[1]
local most, bytes = 512, 1048576

local oldest = call('RPOP', results)
if not oldest then
  return {}
end
local popped, count = {oldest}, 1
bytes = bytes - #oldest
-- Pages are looked at before anything is popped, and grow as long as they fit:
-- what is looked at in vain is little.
local left, page = call('LLEN', results), 16
while left > 0 and count < most and bytes > 0 do
  local peeked = call('LRANGE', results, -math.min(page, most - count), -1)
  local fit = 0
  for i = #peeked, 1, -1 do
    bytes = bytes - #peeked[i]
    if bytes < 0 then
      break
    end
    fit = fit + 1
    popped[count + fit] = peeked[i]
  end
  call('LTRIM', results, 0, -fit - 1)
  count, left, page = count + fit, left - fit, 2 * page
end
return popped
