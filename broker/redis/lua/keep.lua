-- Publishes a batch of events on channels that rules keep, and keeps them. An event is
-- published if it was kept, or if nothing older is kept any more: so what is missing in
-- a log never goes unnoticed. A command that fails does not end the script, since what
-- was done before it stays done.
--
-- KEYS[1]  the lane's rules of history
-- then     for each channel its log (a list, the newest event last) and its position
--          then for each event with a key its note (a string: the position, and the hash)
-- ARGV[1]  the command to publish with: PUBLISH or SPUBLISH
-- ARGV[2]  for how long a position can be proved without events, in ms
-- ARGV[3]  for how long a note counts, in ms
-- ARGV[4]  how many channels there are
-- ARGV[5]  the version of the rules that we know
-- then     for each channel: its name for subscribers; the id of its rule, how many events
--          are kept, and for how long after the last, in ms; how many events follow; of
--          each: its tag (8 bytes), behind it the hash of its arguments (8 bytes) if it has
--          a key; its value
--
-- returns  for each event: its number; 0: published, but not kept; -1: the key belongs
--          to another; a number and a tag, 16 bytes: the key was known, with this position;
--          or an error: with - before it nothing was published, with ? that is not known.
--          Or the rules, if we know others: then nothing was done

-- append adds entries to a log, and returns an error if they are not kept.
local function append(log, pos, entries, position, most, life)
  local length = redis.pcall('RPUSH', log, unpack(entries))
  if type(length) == 'table' then
    return length.err
  end
  local err = length > most and failure('LTRIM', log, -most, -1)
  if err then
    return err
  end
  -- An expiry is renewed only when a sixteenth of it has gone.
  local left = redis.pcall('PTTL', log)
  if type(left) == 'table' then
    return left.err
  end
  err = (left < life - life / 16 or left > life) and failure('PEXPIRE', log, life)
  return err or failure('SET', pos, position, 'PX', life + ARGV[2])
end

local rules = other_rules(KEYS[1], ARGV[5])
if rules then
  return rules
end
local replies, full = {}, nil
local arg, note = 6, 2 * ARGV[4] + 2

-- number_events gives count events the numbers and tags behind those of the last one, and
-- says what to append. Those whose keys are known get their reply.
local function number_events(count, at, before)
  local batch = {entries = {}, values = {}, places = {}, notes = {}, again = {}}
  for _ = 1, count do
    local tag, value, hash, key, known = ARGV[arg], ARGV[arg + 1], nil, nil, nil
    local place = #replies + 1
    arg = arg + 2
    if #tag > 8 then
      hash, tag = string.sub(tag, 9), string.sub(tag, 1, 8)
      key, note = KEYS[note], note + 1
      if batch.notes[key] then
        known = batch.notes[key]
        batch.again[#batch.again + 1] = place
      else
        known = text(key, 24)
      end
    end
    if known then
      replies[place] = string.sub(known, 17) == hash and string.sub(known, 1, 16) or -1
    else
      at = at + 1
      local position = bytes(at) .. tag
      local n = #batch.entries + 1
      batch.entries[n], batch.values[n], batch.places[n] = 'K' .. position .. before .. value, value, place
      replies[place] = at
      before, batch.position = tag, position
      if key then
        batch.notes[key] = position .. hash
      end
    end
  end
  return batch
end

-- publish sends the events of a batch, marked if they are not kept.
local function publish(name, batch, kept)
  for key, value in pairs(batch.notes) do
    redis.pcall('SET', key, kept and value or NONE .. NONE .. string.sub(value, 17), 'PX', ARGV[3])
  end
  for _, place in ipairs(batch.again) do
    if not kept and replies[place] ~= -1 then
      replies[place] = NONE .. NONE
    end
  end
  for n, place in ipairs(batch.places) do
    if not kept then
      replies[place] = 0
    end
    local err = failure(ARGV[1], name, kept and batch.entries[n] or 'K' .. NONE .. NONE .. NONE .. batch.values[n])
    if err then
      replies[place] = '?' .. err
    end
  end
end

for channel = 1, tonumber(ARGV[4]) do
  local log, pos = KEYS[2 * channel], KEYS[2 * channel + 1]
  local name, rule, most, life, count = unpack(ARGV, arg, arg + 4)
  arg = arg + 5
  local first = #replies + 1
  local at, before, err = last(log, pos, rule)
  local batch = number_events(tonumber(count), at, before or NONE)
  if batch.position then
    err = err or full or append(log, pos, batch.entries, batch.position .. rule, tonumber(most), tonumber(life))
    if err and string.find(err, 'OOM ', 1, true) then
      full = err -- after its first write Redis would let the script go on without end
    end
    local lost = err and failure('DEL', log, pos)
    if lost then
      for place = first, #replies do
        replies[place] = '-' .. lost
      end
    else
      publish(name, batch, not err)
    end
  end
end
return replies
