-- Reads events of channels that rules keep, with the positions of the channels at the same
-- instant. Whether events follow upon each other is for the reader to see.
--
-- KEYS[1]  the lane's rules of history
-- then     the position of each channel; the log of each
-- ARGV[1]  how many channels there are
-- ARGV[2]  the version of the rules that we know
-- ARGV[3]  how many events are read, of all channels together
-- ARGV[4]  how many bytes they have together; with as many, the rest is not read
-- then     for each channel: the id of its rule; the number of the position after which is
--          read, or how many of the newest, as a number below 0; how many events and bytes
--          at most; the tag of a position to make if there is none (8 bytes, or empty), and
--          for how long, in ms
--
-- returns  for each channel: number and tag where it stands (16 bytes, empty: not known),
--          1 if there are events behind those that follow, and these; or 0: not read. Or the
--          rules, if we know others

-- page returns at most so many events from a place of a log on, with their bytes. They are
-- fetched in parts, as they may be large.
local function page(log, from, most, room)
  local events, used, part, ended = {}, 0, 8, false
  while #events < most and not ended do
    local count = math.min(part, most - #events)
    local list = redis.call('LRANGE', log, from, from + count - 1)
    ended = #list < count
    for _, event in ipairs(list) do
      used = used + #event
      if used > room and #events > 0 then
        return events, used - #event
      end
      events[#events + 1] = event
    end
    from = from + count
    part = math.max(1, math.floor((room - used) / (used / #events + 1)))
  end
  return events, used
end

local channels, left, room = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])

-- read answers for the channel at that place.
local function read(channel)
  local pos, log = KEYS[1 + channel], KEYS[1 + channels + channel]
  local rule, from, most, size, tag, life = unpack(ARGV, 6 * channel - 1, 6 * channel + 4)
  local value = values[1 + channel]
  if not (value and #value == 32 and string.sub(value, 17, 24) == rule) then
    value = nil
    if tag ~= '' then
      local at, _, _, err = last(values[1 + channel], log, rule)
      local made = bytes(at) .. tag .. rule .. NONE
      value = not err and not failure('SET', pos, made, 'PX', life) and made
    end
  end
  local top, more, events = value and string.sub(value, 1, 16) or '', 0, {}
  from = tonumber(from)
  if value and from ~= 0 then
    local length = redis.pcall('LLEN', log)
    length = type(length) == 'number' and length or 0
    local wanted = from > 0 and number(value, 1) - from or math.min(-from, length)
    if wanted > 0 and wanted <= length then
      local used
      local first = length - wanted
      events, used = page(log, first, math.min(wanted, tonumber(most), left), math.min(tonumber(size), room))
      more = #events < wanted and 1 or 0
      left, room = left - #events, room - used
    end
  end
  return {top, more, events}
end

local replies = {}
for channel = 1, channels do
  replies[channel] = left > 0 and room > 0 and read(channel) or 0
end
return replies
