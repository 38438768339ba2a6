-- Has processes know of each other's settings: those of each kind share an entry.
--
-- KEYS[1]  systems (hash: settings -> until when in ms, a space, and who said so)
-- ARGV[1]  how long an entry lives, in ms; 0: we leave
-- ARGV[2]  who we are
-- then     our settings
--
-- returns  of each entry that lives the settings and who said so
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[1])
for i = 3, #ARGV do
  if lease > 0 then
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f %s', now + lease, ARGV[2]))
  else
    local entry = redis.call('HGET', KEYS[1], ARGV[i])
    if entry and string.match(entry, ' (.*)$') == ARGV[2] then
      redis.call('HDEL', KEYS[1], ARGV[i])
    end
  end
end
if lease > 0 then
  redis.call('PEXPIRE', KEYS[1], lease)
end
local all, living = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local till, who = string.match(all[i + 1], '^(%d+) (.*)$')
  if till and tonumber(till) > now then
    living[#living + 1] = all[i]
    living[#living + 1] = who
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return living
