-- Sets the rules of history of a lane, or restores and renews them, and says which count.
--
-- KEYS[1]  rules (a string: the version, and who set them, each a line; then for each rule
--          its id, 16 hexadecimal digits, and what was handed over, a line each)
-- ARGV[1]  set: whatever is there; else only if nothing is
-- ARGV[2]  who we are
-- ARGV[3]  the id of rules that are new
-- ARGV[4]  for how long they count, in ms
-- then     for each rule: how many events are kept, for how long in ms, and of which
--          channels, quoted, with a space between each
--
-- returns  rules
--
-- A rule keeps its id as long as it is there, for the same channels: positions have it, and
-- what was published before a rule was there is not in its logs.
local now = redis.pcall('GET', KEYS[1])
now = type(now) == 'string' and now
if now and ARGV[1] ~= 'set' then
  redis.pcall('PEXPIRE', KEYS[1], ARGV[4])
  return now
end
local ids, lines = {}, {}
for id, channels in string.gmatch(now or '', '(%x+) %d+ %d+ ([^\n]*)\n') do
  ids[channels] = id
end
for i = 5, #ARGV do
  local channels = string.match(ARGV[i], '^%d+ %d+ (.*)$')
  lines[#lines + 1] = (ids[channels] or ARGV[3]) .. ' ' .. ARGV[i] .. '\n'
end
local text = table.concat(lines)
local version = string.sub(redis.sha1hex(text), 1, 16)
if not now or string.sub(now, 1, 16) ~= version then
  now = version .. '\n' .. ARGV[2] .. '\n' .. text
end
redis.call('SET', KEYS[1], now, 'PX', ARGV[4])
return now
