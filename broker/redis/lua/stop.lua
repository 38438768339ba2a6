-- Wakes a callee that waits for tokens.
--
-- KEYS[1]  stop (sorted set), the callee's own token
--
-- returns  1
redis.call('ZADD', KEYS[1], 0, '1')
return redis.call('PEXPIRE', KEYS[1], 10000)
