-- What the scripts of kept events have in common: it stands before them. A position is a
-- string of number and tag of a channel's last event, and of the id of the channel's rule,
-- 8 bytes each. Under another rule a new life begins.
local TWO32, MOST, NONE = 4294967296, 9007199254740990, string.rep('\0', 8)

local function bytes(n)
  local low = n % TWO32
  local high = (n - low) / TWO32
  local a, b, c = math.floor(high / 65536), math.floor(high / 256), math.floor(low / 16777216)
  local d, e = math.floor(low / 65536), math.floor(low / 256)
  return string.char(0, a % 256, b % 256, high % 256, c, d % 256, e % 256, low % 256)
end

local function number(text)
  local a, b, c, d, e, f, g, h = string.byte(text, 1, 8)
  return ((((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f) * 256 + g) * 256 + h
end

-- other_rules returns the rules of history that count, if the caller knows others.
local function other_rules(key, version)
  local rules = redis.call('GET', key) or ''
  return string.sub(rules, 1, 16) ~= version and rules
end

-- failure runs a command, and returns its error if it has one.
local function failure(...)
  local reply = redis.pcall(...)
  return type(reply) == 'table' and reply.err
end

-- text returns a string of so many bytes, or nil.
local function text(key, size)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and #value == size and value or nil
end

-- last returns number and tag of the last event of a channel; without a tag the log is
-- empty, and a new life begins: at the time, but above all numbers that are known.
local function last(log, pos, rule)
  local value = text(pos, 24)
  local at = value and number(value) or 0
  if value and at < MOST and string.sub(value, 17) == rule then
    return at, string.sub(value, 9, 16)
  end
  local newest = redis.pcall('LINDEX', log, -1)
  if type(newest) == 'string' then
    at = #newest > 16 and math.max(at, number(string.sub(newest, 2, 9))) or at
    local err = failure('DEL', log)
    if err then
      return at, nil, err
    end
  end
  local time = redis.call('TIME')
  return math.max(time[1] * 1000000 + time[2], at < MOST / 2 and at or 0), nil
end

