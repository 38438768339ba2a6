-- Ends the interest in a call.
--
-- KEYS[1]  calls of its URI (list)
-- KEYS[2]  cancelled calls of its URI (set of addresses)
-- ARGV[1]  the call's address
-- ARGV[2]  how many addresses the set may hold
-- ARGV[3]  the lane's channel for cancellations
-- ARGV[4]  the command to publish with: PUBLISH or SPUBLISH
--
-- returns  1 if the call may still be queued and was marked, else 0

-- First, as a server that is out of memory refuses the mark.
redis.call(ARGV[4], ARGV[3], ARGV[1])
-- With an empty queue the call cannot be queued: then no mark is left behind.
local left = redis.call('PTTL', KEYS[1])
if left <= 0 then
  return 0
end
if redis.call('SCARD', KEYS[2]) >= tonumber(ARGV[2]) then
  -- As a rule one of a call that had been taken: such marks stay until the
  -- queue is empty.
  redis.call('SPOP', KEYS[2])
end
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2], left)
return 1
