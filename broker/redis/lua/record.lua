-- What the scripts of calls with keys have in common: it stands before them. A record is a
-- string of fixed fields, then the nodes that are told of news (16 bytes each), then the
-- value of the outcome. docs/redis.md has the fields.
local sub = string.sub

-- The states of a record.
local QUEUED, TAKEN, DONE, LATE, REFUSED, EXPIRED = 'Q', 'T', 'D', 'L', 'R', 'X'

local function parse(value)
  local nodes = tonumber(sub(value, 121, 122))
  if not nodes or sub(value, 1, 1) ~= 'A' then
    return nil
  end
  return {
    second = sub(value, 2, 17), -- half of the call's address
    key = sub(value, 18, 33),
    args = sub(value, 34, 49), -- a hash of them
    state = sub(value, 50, 50),
    deadline = tonumber(sub(value, 51, 63)),
    keep = tonumber(sub(value, 64, 76)),
    most = tonumber(sub(value, 77, 88)), -- bytes of the parts that are kept; 0: none are
    first = tonumber(sub(value, 89, 98)), -- part that is kept; 0: none is
    last = tonumber(sub(value, 99, 108)), -- part that was stored
    bytes = tonumber(sub(value, 109, 120)), -- of the parts that are kept
    nodes = sub(value, 123, 122 + 16 * nodes),
    outcome = sub(value, 123 + 16 * nodes),
  }
end

local function format(r)
  return 'A' .. r.second .. r.key .. r.args .. r.state ..
    string.format('%013.0f%013.0f%012.0f%010.0f%010.0f%012.0f%02.0f',
      r.deadline, r.keep, r.most, r.first, r.last, r.bytes, #r.nodes / 16) .. r.nodes .. r.outcome
end

-- Reads a record where something may have to be written: a replica refuses it.
local function read(key)
  local value = redis.call('GETEX', key)
  return value and parse(value)
end

local function running(r)
  return r.state == QUEUED or r.state == TAKEN
end

-- Finds a call by its address in a queue: its place, as LSET counts; nil: it is not
-- among the oldest 4,096, or about 1 MiB.
local function find(calls, address)
  local at, page, bytes = 0, 8, 1048576
  while at < 4096 and bytes > 0 do
    local values = redis.pcall('LRANGE', calls, -at - page, -at - 1)
    for i = #values, 1, -1 do
      if sub(values[i], 15, 46) == address then
        return i - #values - at - 1
      end
      bytes = bytes - #values[i]
    end
    if #values < page then
      return nil
    end
    at, page = at + page, math.min(2 * page, 128)
  end
  return nil
end

local function remove(calls, at)
  redis.call('LSET', calls, at, '')
  redis.call('LREM', calls, -1, '')
end

-- Has the set of an owner's records expire with the last of them.
local function expire(owner, now)
  local last = redis.call('ZRANGE', owner, -1, -1, 'WITHSCORES')
  if last[2] then
    redis.call('PEXPIRE', owner, math.max(tonumber(last[2]) - now, 1))
  end
end

-- Ends the call of a record: its outcome does not change any more, and is kept from now on.
-- The keys are those of the record, its parts and its owner.
local function settle(r, state, outcome, record, parts, owner, now)
  r.state, r.outcome = state, outcome
  if state == DONE and now >= r.deadline then
    r.state = LATE
  end
  redis.call('SET', record, format(r), 'PX', r.keep)
  redis.call('PEXPIRE', parts, r.keep)
  local name = sub(record, -24)
  if redis.call('ZSCORE', owner, name) then
    redis.call('ZADD', owner, now + r.keep, name)
    expire(owner, now)
  end
end

