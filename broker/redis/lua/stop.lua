-- Wakes a callee that waits for tokens.
--
-- KEYS[1]  stop (list), the callee's own wake-up
--
-- returns  1
redis.call('LPUSH', KEYS[1], '1')
return redis.call('PEXPIRE', KEYS[1], 10000)
