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
-- Pages are looked at before anything is popped. They grow as long as they fit,
-- and are small where values are large: to look at such in vain takes long.
local left, page, largest = call('LLEN', results), 8, math.max(#oldest, 1)
while left > 0 and count < most and bytes >= largest do
  local peeked = call('LRANGE', results, -math.min(page, most - count, math.floor(bytes / largest)), -1)
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
  call('LTRIM', results, 0, -fit - 1)
  count, left, page = count + fit, left - fit, 2 * page
end
return popped
