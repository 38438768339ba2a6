-- What the scripts of the registry have in common: it stands before them. A table is a hash
-- (name -> when it was registered and when that ends, ms of Unix time, 13 digits each; the
-- value), the names in order (a sorted set), and when each ends (a sorted set).
--
-- KEYS     the hash, the names, the ends

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- remove removes what has ended, up to 1,000.
local function remove()
  local over = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 1000)
  if #over > 0 then
    redis.call('HDEL', KEYS[1], unpack(over))
    redis.call('ZREM', KEYS[2], unpack(over))
    redis.call('ZREM', KEYS[3], unpack(over))
  end
end
