-- Renews the lease of a callee in one lane, and of the bunches of its URIs.
--
-- KEYS[1]  callees of the lane (sorted set: callee -> end of its lease)
-- KEYS[2]  taken by this callee (set of addresses)
-- KEYS[3]  URIs of the lane (sorted set: key "calls" -> ms until when somebody serves
--          it at least)
-- then     for each of its bunches: served (string), callees of the bunch (sorted set)
-- then     for each URI that is named: bunches of the URI (string), calls (list),
--          tokens of its bunch (sorted set)
-- ARGV[1]  the callee
-- ARGV[2]  length of the lease in ms
-- ARGV[3]  grace in ms: how long a bunch stays served when its callees are gone
-- ARGV[4]  for how long in ms the URIs named count
-- ARGV[5]  how many bunches it has
-- ARGV[6]  1: all URIs are named; 0: some, which is enough as long as the server
--          knows all its bunches
-- then     for each URI that is named: the name of its bunch, empty where the URI is
--          one by itself
-- then     addresses of calls taken before that are answered now (at most
--          3,000)
--
-- returns  {the number of calls that this callee has taken and not answered, 1 if
--          all URIs must be named for all to be announced, else 0}
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease, grace, lasting = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local bunches = tonumber(ARGV[5])
local first = 4 + 2 * bunches -- of the keys of URIs
local uris = (#KEYS - first + 1) / 3

-- Has a key live so long at least: a callee whose lease is longer may have said
-- more.
local function keep(key, ms)
  if call('PTTL', key) < ms then
    call('PEXPIRE', key, ms)
  end
end

-- First of all a write that frees memory: out of memory the server refuses those
-- that need some, unless the script has written already. Callees that live must not
-- lose their lease.
for k = 4, first - 1, 2 do
  call('ZREMRANGEBYSCORE', KEYS[k + 1], '-inf', now)
end

-- Who is new, or was forgotten, has to name all URIs: that a bunch is known says
-- that its URIs name it.
local unknown = 0
for k = 4, first - 1, 2 do
  if ARGV[6] == '0' and call('EXISTS', KEYS[k], KEYS[k + 1]) < 2 then
    unknown = 1
  else
    call('ZADD', KEYS[k + 1], now + lease, ARGV[1])
    keep(KEYS[k + 1], lease)
    if call('PTTL', KEYS[k]) < lease + grace then
      call('SET', KEYS[k], '1', 'PX', lease + grace)
    end
  end
end

-- Has a URI name its bunch, and the bunch have a token for it if calls are queued:
-- they may have been before the bunch was there. Nodes look at a URI when its time is
-- over; if it was only not named again they find that it is served.
local function name(bunch, names, calls, tokens)
  call('ZADD', KEYS[3], now + lease + grace, calls)
  if bunch ~= '' then
    local known = call('GET', names) or ''
    if not string.find(known, bunch, 1, true) then
      call('SET', names, known .. bunch .. ' ', 'PX', lasting)
    end
    keep(names, lasting)
  end
  if call('EXISTS', calls) == 1 and call('ZADD', tokens, 'NX', now, calls) == 1 then
    call('PEXPIRE', tokens, 3600000)
  end
end

for i = 1, uris do
  local k = first + 3 * (i - 1)
  name(ARGV[6 + i], KEYS[k], KEYS[k + 1], KEYS[k + 2])
end

keep(KEYS[3], grace + 3 * lease) -- a node in doubt looks a lease later
call('ZADD', KEYS[1], now + lease, ARGV[1])
-- A dead callee must stay listed until the reapers have answered its calls.
keep(KEYS[1], lease + 60000)
if #ARGV > 6 + uris then
  call('SREM', KEYS[2], unpack(ARGV, 7 + uris))
end
call('PEXPIRE', KEYS[2], 60000)
return {call('SCARD', KEYS[2]), unknown}
