-- Tells what became of calls with keys of one lane.
--
-- KEYS     for each: the record (string), its parts (list), calls of its URI (list)
-- ARGV[1]  about how many bytes the reply may have
-- then     for each: the call's key, 16 bytes; the number of the part after which parts are
--          wanted; how many parts, and how many bytes of them, though one comes in any case
--
-- returns  for each, the first ones, as many as fit, but one in any case: {0} if there is no
--          record; else
--          1: it runs; 2: it has an outcome; 3: one that came when its time was over; 4: it
--          was never taken, for the reason that is its outcome; 5: because its time was over
--          the time left in ms, at least 0
--          the number of the oldest part that is kept, 0 if none is
--          the value of its outcome, if it has one
--          which attempt it is
--          then the parts
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local codes = {[QUEUED] = 1, [TAKEN] = 1, [DONE] = 2, [LATE] = 3, [REFUSED] = 4, [EXPIRED] = 5}
local room = tonumber(ARGV[1])

-- Adds the parts of r behind after, up to a number of them and of bytes.
local function add_parts(status, r, parts, after, most, bytes)
  local from = math.max(after + 1 - r.first, 0)
  local first = true
  while most > 0 and r.first > 0 do
    local page = math.min(most, 32)
    local values = call('LRANGE', parts, from, from + page - 1)
    for i = 1, #values do
      if #values[i] > bytes and not first then
        return
      end
      first, bytes, room = false, bytes - #values[i], room - #values[i]
      status[#status + 1] = values[i]
    end
    if #values < page then
      return
    end
    from, most = from + page, most - page
  end
end

local function tell(k, at)
  local record = KEYS[k]
  local r = read(record)
  if not r or r.key ~= ARGV[at] then
    return {0}
  end
  if r.state == QUEUED and r.deadline <= now then
    local place = find(KEYS[k + 2], '\255key' .. sub(r.key, 1, 12) .. r.second)
    if place then
      remove(KEYS[k + 2], place)
      r.state = EXPIRED
      call('SET', record, format(r), 'KEEPTTL')
    end
  end
  local status = {codes[r.state], math.max(r.deadline - now, 0), r.first, r.outcome, string.byte(r.second, 16)}
  add_parts(status, r, KEYS[k + 1], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]))
  room = room - #r.outcome
  return status
end

local result = {}
for k = 1, #KEYS, 3 do
  if k > 1 and room <= 0 then
    break
  end
  result[#result + 1] = tell(k, (k - 1) / 3 * 4 + 2)
end
return result
