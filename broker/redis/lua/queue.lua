-- What the scripts that queue calls have in common: it stands before them. ARGV[1] is the
-- capacity of a URI's queue; ARGV[2] is 1 where the calls to a URI that nobody serves are
-- refused. The keys of a URI follow each other: calls (list), cancelled (set of
-- addresses), bunches of the URI (string); then of the bunch that it is by itself, and of
-- each bunch that is named: served (string), callees (sorted set), tokens (sorted set).
local call, pcall = redis.call, redis.pcall
local ARGV = ARGV -- globals are looked up at each use
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local capacity = tonumber(ARGV[1])
local discovery = ARGV[2] == '1'

-- The time that the oldest call has waited: about what a new one would wait,
-- had the queue room for it.
local function drain_time(calls)
  local oldest = redis.call('LINDEX', calls, -1)
  local deadline = oldest and tonumber(string.sub(oldest, 2, 14))
  if not deadline or #oldest < 50 then
    return 1000
  end
  local a, b, c, d = string.byte(oldest, 47, 50)
  return now - (deadline - (((a * 256 + b) * 256 + c) * 256 + d))
end

-- Looks at up to count queued calls, behind the oldest skip ones, and drops those
-- that nobody waits for: their time is over or they were cancelled. Those with a key
-- stay until their record says so, too. Returns how many. A server that is out of memory
-- lets none be dropped.
local function sweep(calls, cancelled, skip, count)
  local page = call('LRANGE', calls, -skip - count, -skip - 1)
  if #page == 0 then
    return 0
  end
  local addresses = {}
  for i = 1, #page do
    addresses[i] = string.sub(page[i], 15, 46)
  end
  local marks = call('EXISTS', cancelled) == 1 and call('SMISMEMBER', cancelled, unpack(addresses)) or {}
  local dropped = 0
  for i = 1, #page do
    local deadline = tonumber(string.sub(page[i], 2, 14))
    if deadline and (deadline <= now or marks[i] == 1) and not string.find(addresses[i], '^\255key') then
      if pcall('LSET', calls, i - #page - skip - 1, '').err then
        break
      end
      dropped = dropped + 1
      if marks[i] == 1 then
        call('SREM', cancelled, addresses[i])
      end
    end
  end
  if dropped > 0 then
    call('LREM', calls, -dropped, '')
  end
  return dropped
end

-- Makes room in a full queue. The oldest calls are looked at, and some anywhere
-- behind them: what a push costs has a bound, and nothing dead stays unseen for
-- long, unless more than 16,000 calls are before it.
local function make_room(calls, cancelled, length)
  length = length - sweep(calls, cancelled, 0, 128)
  local places = math.min(length, 16384) - 256 -- where the second page may begin
  return length - sweep(calls, cancelled, 128 + (places > 128 and time[2] % (places - 127) or 0), 256)
end

-- Finds out which bunches of a URI, whose keys begin at k, live. Returns the keys of
-- their tokens and the names of those that have one; nil and what bunches holds if
-- that is not what is thought.
local function living(k, named)
  local count = #named / 17 + 1
  local names = {KEYS[k + 2]}
  for g = 1, count do
    names[g + 1] = KEYS[k + 3 * g]
  end
  local found = call('MGET', unpack(names))
  if (found[1] or '') ~= named then
    return nil, found[1] or ''
  end
  local tokens, left = {}, ''
  for g = 1, count do
    if found[g + 1] or call('EXISTS', KEYS[k + 3 * g + 1]) == 1 then
      tokens[#tokens + 1] = KEYS[k + 3 * g + 2]
      if g > 1 then
        left = left .. string.sub(named, 17 * g - 33, 17 * g - 17)
      end
    end
  end
  return tokens, left
end

-- Queues n calls, whose values stand in ARGV from first on. Errors of the
-- server are returned, not raised: they must not hide what happened to other
-- URIs.
local function push(calls, tokens, cancelled, first, n, longest)
  local length = pcall('LLEN', calls)
  if type(length) == 'table' then
    return -2, length.err
  end
  local was_empty = length == 0
  if length + n > capacity then
    length = make_room(calls, cancelled, length)
  end
  local accepted = math.max(math.min(n, capacity - length), 0)
  if accepted > 0 then
    local pushed = pcall('LPUSH', calls, unpack(ARGV, first, first + accepted - 1))
    if type(pushed) == 'table' then
      return -2, pushed.err
    end
    -- The key must outlive its calls. PEXPIRE ... GT would do nothing on a key
    -- without expiry, that is on every new one. A minute more than needed, so
    -- that this is written once a minute.
    local expiry = tostring(longest + 60000)
    if was_empty or call('PTTL', calls) < longest then
      call('PEXPIRE', calls, expiry)
    end
    -- Who emptied the queue took his token, too. An hour: others' tokens may be
    -- there, too, and one that outlives its calls hurts nobody.
    for i = 1, #tokens do
      if pcall('ZADD', tokens[i], 'NX', now, calls) == 1 then
        call('PEXPIRE', tokens[i], math.max(longest + 60000, 3600000))
      end
    end
  end
  if accepted == n then
    return n, 0
  end
  return accepted, math.min(math.max(drain_time(calls), 50), 10000)
end

