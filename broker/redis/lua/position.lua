-- What the scripts of kept events have in common: it stands before them. A position is a
-- string of number and tag of a channel's last event, the id of the channel's rule, and
-- when its log expires in ms, 8 bytes each. Under another rule a new life begins.
local TWO32, MOST, NONE = 4294967296, 9007199254740990, string.rep('\0', 8)

local function bytes(n)
  local low = n % TWO32
  local high = (n - low) / TWO32
  local floor = math.floor
  return string.char(0, floor(high / 65536), floor(high / 256) % 256, high % 256,
    floor(low / 16777216), floor(low / 65536) % 256, floor(low / 256) % 256, low % 256)
end

local function number(text, at)
  local a, b, c, d, e, f, g, h = string.byte(text, at, at + 7)
  return ((((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f) * 256 + g) * 256 + h
end

-- failure runs a command, and returns its error if it has one.
local function failure(...)
  local reply = redis.pcall(...)
  return type(reply) == 'table' and reply.err
end

local time = redis.call('TIME')
time = time[1] * 1000000 + time[2]

-- The first keys are the rules and the positions, as many as ARGV[1] says.
local values = redis.call('MGET', unpack(KEYS, 1, 1 + ARGV[1]))
local rules = values[1] or ''
if string.sub(rules, 1, 16) ~= ARGV[2] then
  return rules
end

-- last returns number and tag of the last event of the channel whose position has this
-- value, and when its log expires; without a tag the log is empty, and a new life begins: at
-- the time, but above all numbers that are known.
local function last(value, log, rule)
  local at = 0
  if value and #value == 32 then
    at = number(value, 1)
    if at < MOST and string.sub(value, 17, 24) == rule then
      return at, string.sub(value, 9, 16), number(value, 25)
    end
  end
  local newest, err = redis.pcall('LINDEX', log, -1), nil
  if type(newest) == 'string' then
    at = #newest > 16 and math.max(at, number(newest, 2)) or at
    err = failure('DEL', log)
  end
  return math.max(time, at < MOST / 2 and at or 0), nil, 0, err
end
