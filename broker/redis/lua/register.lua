-- Registers a value, or ends that. It may be repeated.
--
-- ARGV[1]  the name
-- ARGV[2]  for how long, in ms; 0: it is removed
-- ARGV[3]  how many names the table has at most
-- ARGV[4]  the value
--
-- returns  1; 0: the table is full, and nothing was done

-- First a write that needs no memory: then those are done, too, that need some.
redis.call('ZREM', KEYS[3], ARGV[1])
remove()
local life = tonumber(ARGV[2])
if life == 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
if #redis.call('ZRANGE', KEYS[3], ARGV[3] - 1, ARGV[3] - 1) > 0 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%013.0f%013.0f', now, now + life) .. ARGV[4])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
redis.call('ZADD', KEYS[3], now + life, ARGV[1])
local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, string.format('%.0f', last - now))
end
return 1
