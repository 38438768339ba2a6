
-- Publishes a batch of events on channels that rules keep, and keeps them. An event is
-- published if it was kept, or if nothing older is kept any more: so what is missing in
-- a log never goes unnoticed. A command that fails does not end the script, since what
-- was done before it stays done.
--
-- KEYS[1]  the lane's rules of history
-- then     the position of each channel; the log of each (a list, the newest event last);
--          the note of each event with a key (a string: number and tag, and the hash)
-- ARGV[1]  how many channels there are
-- ARGV[2]  the version of the rules that we know
-- ARGV[3]  the command to publish with: PUBLISH or SPUBLISH
-- ARGV[4]  for how long a position can be proved without events, in ms
-- ARGV[5]  for how long a note counts, in ms
-- then     for each channel: its name for subscribers; the id of its rule, how many events
--          are kept, and for how long after the last, in ms; how many events follow; of
--          each: its tag (8 bytes), behind it the hash of its arguments (8 bytes) if it has
--          a key; its value
--
-- returns  for each event: its number; 0: published, but not kept; -1: the key belongs
--          to another; a number and a tag, 16 bytes: the key was known, with this position;
--          or an error: with - before it nothing was published, with ? that is not known.
--          Or the rules, if we know others: then nothing was done

local channels = tonumber(ARGV[1])
local replies, full = {}, nil
local arg, note = 6, 2 * channels + 2
local now = math.floor(time / 1000)

-- append adds entries to the log of a channel, and returns an error if they are not kept.
local function append(channel, entries, position, most, life, expires)
  local log = KEYS[1 + channels + channel]
  local length = redis.pcall('RPUSH', log, unpack(entries))
  if type(length) == 'table' then
    return length.err
  end
  local err = length > most and failure('LTRIM', log, -most, -1)
  -- An expiry is renewed only when a sixteenth of it has gone.
  local left = expires - now
  if left < life - life / 16 or left > life or length == #entries then
    expires = now + life
    err = err or failure('PEXPIRE', log, life)
  end
  return err or failure('SET', KEYS[1 + channel], position .. bytes(expires), 'PX', life + ARGV[4])
end

-- known returns what is noted of the event's key.
local function known(key, batch)
  if batch.notes[key] then
    batch.again[#batch.again + 1] = #replies + 1
    return batch.notes[key]
  end
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and #value == 24 and value
end

-- number_events gives count events the numbers and tags behind those of the last one, and
-- says what to append. Those whose keys are known get their reply.
local function number_events(count, at, before)
  local batch = {entries = {}, places = {}}
  for _ = 1, count do
    local tag, hash, key, first = ARGV[arg], nil, nil, nil
    if #tag > 8 then
      hash, tag = string.sub(tag, 9), string.sub(tag, 1, 8)
      key, note = KEYS[note], note + 1
      batch.notes, batch.again = batch.notes or {}, batch.again or {}
      first = known(key, batch)
    end
    if first then
      replies[#replies + 1] = string.sub(first, 17) == hash and string.sub(first, 1, 16) or -1
    else
      at = at + 1
      local n = #batch.entries + 1
      batch.position = bytes(at) .. tag
      batch.entries[n] = 'K' .. batch.position .. before .. ARGV[arg + 1]
      before = tag
      replies[#replies + 1] = at
      batch.places[n] = #replies
      if key then
        batch.notes[key] = batch.position .. hash
      end
    end
    arg = arg + 2
  end
  return batch
end

-- mark makes the events of a batch ones that are not kept.
local function mark(batch)
  for n, place in ipairs(batch.places) do
    batch.entries[n] = 'K' .. NONE .. NONE .. NONE .. string.sub(batch.entries[n], 26)
    replies[place] = 0
  end
  for _, place in ipairs(batch.again or {}) do
    if replies[place] ~= -1 then
      replies[place] = NONE .. NONE
    end
  end
  for key, value in pairs(batch.notes or {}) do
    batch.notes[key] = NONE .. NONE .. string.sub(value, 17)
  end
end

-- publish sends the events of a batch, and notes their keys.
local function publish(name, batch)
  for key, value in pairs(batch.notes or {}) do
    redis.pcall('SET', key, value, 'PX', ARGV[5])
  end
  for n, entry in ipairs(batch.entries) do
    local err = failure(ARGV[3], name, entry)
    if err then
      replies[batch.places[n]] = '?' .. err
    end
  end
end

for channel = 1, channels do
  local pos, log = KEYS[1 + channel], KEYS[1 + channels + channel]
  local name, rule, most, life, count = unpack(ARGV, arg, arg + 4)
  arg = arg + 5
  local first = #replies + 1
  local at, before, expires, err = last(values[1 + channel], log, rule)
  local batch = number_events(tonumber(count), at, before or NONE)
  if batch.position then
    err = err or full or append(channel, batch.entries, batch.position .. rule, tonumber(most), tonumber(life), expires)
    local lost = err and failure('DEL', log, pos)
    if err and string.find(err, 'OOM ', 1, true) then
      full = err -- after its first write Redis would let the script go on without end
    end
    if err and not lost then
      mark(batch)
    end
    if lost then
      for place = first, #replies do
        replies[place] = '-' .. lost
      end
    else
      publish(name, batch)
    end
  end
end
return replies
