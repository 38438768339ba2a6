-- Publishes a batch of events, unless the server is not the one to ask: a node of
-- a cluster that has lost the slot of KEYS[1] points elsewhere. A replica, and a
-- master that lacks the replicas that it should have and may have been replaced,
-- would reach their own subscribers only.
--
-- KEYS[1]  the lane's rules of history
-- ARGV[1]  the command to publish with: PUBLISH or SPUBLISH
-- ARGV[2]  the version of the rules that we know: with others, events may have to be kept
-- then     for each event: its channel, its value (at most 2,000 events)
--
-- returns  for each event that the server refused: its number (1 for the first),
--          the error; or the rules, if we know others: then nothing was done

-- Such a server refuses each write, and GETEX is one. Other reasons to refuse writes (no
-- disk) are none for events.
local rules = redis.pcall('GETEX', KEYS[1])
if type(rules) == 'table' then
  if string.find(rules.err, 'READONLY ', 1, true) or string.find(rules.err, 'NOREPLICAS ', 1, true) then
    return rules
  end
  rules = redis.pcall('GET', KEYS[1])
end
rules = type(rules) == 'string' and rules or ''
if string.sub(rules, 1, 16) ~= ARGV[2] then
  return rules
end
local refused = {}
for i = 3, #ARGV, 2 do
  local reached = redis.pcall(ARGV[1], ARGV[i], ARGV[i + 1])
  if type(reached) == 'table' then
    refused[#refused + 1] = (i - 1) / 2
    refused[#refused + 1] = reached.err
  end
end
return refused
