-- Ends the lives of logs that lack events which were confirmed to who published them, or
-- delivered: a replica without them has taken over. Nothing of before is proved any more
-- then, and all who are subscribed are told where the channel goes on. A life that has
-- begun since is left alone: who was there before learns from it.
--
-- KEYS[1]  the lane's rules of history
-- then     the position of each channel; the log of each
-- ARGV[1]  how many channels there are
-- ARGV[2]  the version of the rules that we know
-- ARGV[3]  the command to publish with: PUBLISH or SPUBLISH
-- then     for each channel: its name for subscribers; the id of its rule, how many events
--          are kept, and for how long a position without events counts, in ms; number and
--          tag (8 bytes) of the position that the log must know; 1 if the server is another
--          one than that which knew it, else 0; a tag for the beginning of a life (8 bytes)
--
-- returns  for each channel: 0: its log knows the position; 1: its life was ended; 2: neither;
--          or an error. Or the rules, if we know others: then nothing was done

local channels = tonumber(ARGV[1])

local KNOWN, LOST, NEITHER = 0, 1, 2

-- A life that begins here leaps over so many numbers, more than there are events while a
-- position is remembered. Thus who asks next sees that it began later, also where its log
-- has gone on beyond what it keeps.
local LEAP = TWO32

-- look says what a channel's past has to do with a position. Where the log begins behind it,
-- nobody knows; then it counts as lost if the server is another one.
local function look(value, log, rule, most, at, tag, moved)
  if not value or #value ~= 32 then
    return moved and LOST or NEITHER
  end
  if string.sub(value, 17, 24) ~= rule then
    return NEITHER
  end
  local top = number(value, 1)
  if top <= at then
    return top == at and string.sub(value, 9, 16) == tag and KNOWN or LOST
  end
  if top - at > LEAP / 2 then
    return NEITHER
  end
  local length = redis.pcall('LLEN', log)
  length = type(length) == 'number' and length or 0
  local place = length - 1 - (top - at)
  if length > 0 and place >= -1 then
    local entry = redis.pcall('LINDEX', log, math.max(place, 0))
    local from = place < 0 and 18 or 10 -- its predecessor's tag, or its own
    return type(entry) == 'string' and string.sub(entry, from, from + 7) == tag and KNOWN or LOST
  end
  local whole = number(value, 25) == 0 or length > 0 and length < most -- since the life began
  return moved and not whole and LOST or NEITHER
end

local replies, ended = {}, {}
for channel = 1, channels do
  local pos, log, value = KEYS[1 + channel], KEYS[1 + channels + channel], values[1 + channel]
  local name, rule, most, life, at, tag, moved, fresh = unpack(ARGV, 8 * channel - 4, 8 * channel + 3)
  at = tonumber(at)
  replies[channel] = ended[pos] and NEITHER or look(value, log, rule, tonumber(most), at, tag, moved == '1')
  if replies[channel] == LOST then
    local newest = last(value, log, rule)
    local err = failure('DEL', log, pos)
    if err then
      replies[channel] = err
    else
      local position = bytes(math.max(time, at, newest) + LEAP) .. fresh
      if failure('SET', pos, position .. rule .. NONE, 'PX', life) then
        position = NONE .. NONE
      end
      failure(ARGV[3], name, 'K' .. position .. NONE)
      ended[pos] = true
    end
  end
end
return replies
