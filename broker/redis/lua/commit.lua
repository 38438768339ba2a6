-- Stores outcomes of calls with keys of one lane. The first of each call counts.
--
-- KEYS     for each outcome: the record (string), its parts (list), records of its owner
--          (sorted set)
-- ARGV     for each: 1: it counts only if the call was never taken; 0: in any case; then
--          its value, as in a list of results
--
-- returns  for each two values: 1 if it counts, else 0; the call's key, 16 bytes, and the
--          nodes that are told of news, 16 bytes each
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local result = {}
for k = 1, #KEYS, 3 do
  local refused, outcome = ARGV[(k - 1) / 3 * 2 + 1] == '1', ARGV[(k - 1) / 3 * 2 + 2]
  -- First a write that needs no memory: then those are done, too, that need some.
  local r = read(KEYS[k])
  local counts = r and running(r) and r.second == sub(outcome, 2, 17) and not (refused and r.state == TAKEN)
  if counts then
    settle(r, refused and REFUSED or DONE, outcome, KEYS[k], KEYS[k + 1], KEYS[k + 2], now)
  end
  result[#result + 1] = counts and 1 or 0
  result[#result + 1] = counts and r.key .. r.nodes or ''
end
return result
