-- Sets the rules of history of a lane, or restores them, and says which count.
--
-- KEYS[1]  rules (a string: the version, and who set them, each a line; then for each rule
--          its id, 16 hexadecimal digits, and what was handed over, a line each)
-- ARGV[1]  set: whatever is there; else only if nothing is
-- ARGV[2]  who we are
-- ARGV[3]  the id of rules that are new
-- then     for each rule: how many events are kept, for how long in ms, and of which
--          channels, quoted, with a space between each
--
-- returns  rules; empty if there are none
--
-- A rule keeps its id as long as it is there, for the same channels: positions have it, and
-- what was published before a rule was there is not in its logs.
local now = redis.call('GET', KEYS[1])
if now and ARGV[1] ~= 'set' or not now and #ARGV == 3 then
  return now or ''
end
local ids, lines = {}, {}
for id, channels in string.gmatch(now or '', '(%x+) %d+ %d+ ([^\n]*)\n') do
  ids[channels] = id
end
for i = 4, #ARGV do
  local channels = string.match(ARGV[i], '^%d+ %d+ (.*)$')
  lines[#lines + 1] = (ids[channels] or ARGV[3]) .. ' ' .. ARGV[i] .. '\n'
end
local text = table.concat(lines)
local version = string.sub(redis.sha1hex(text), 1, 16)
if not now or string.sub(now, 1, 16) ~= version then
  now = version .. '\n' .. ARGV[2] .. '\n' .. text
  redis.call('SET', KEYS[1], now)
end
return now
