-- Publishes a batch of events, unless the server is not the one to ask: a node of
-- a cluster that has lost the slot of KEYS[1] points elsewhere. A replica, and a
-- master that lacks the replicas that it should have and may have been replaced,
-- would reach their own subscribers only.
--
-- KEYS[1]  here, a key of the lane, which nobody ever sets
-- ARGV[1]  the command to publish with: PUBLISH or SPUBLISH
-- then     for each event: its channel, its value (at most 2,000 events)
--
-- returns  for each event that the server refused: its number (1 for the first),
--          the error

-- Such a server refuses each write, even one that does nothing. Other reasons to
-- refuse writes (no memory, no disk) are none for events.
local here = redis.pcall('DEL', KEYS[1])
if type(here) == 'table' and
  (string.find(here.err, 'READONLY ', 1, true) or string.find(here.err, 'NOREPLICAS ', 1, true)) then
  return here
end
local refused = {}
for i = 2, #ARGV, 2 do
  local reached = redis.pcall(ARGV[1], ARGV[i], ARGV[i + 1])
  if type(reached) == 'table' then
    refused[#refused + 1] = i / 2
    refused[#refused + 1] = reached.err
  end
end
return refused
