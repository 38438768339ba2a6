-- Stores parts of the answers to calls with keys of one lane. Of those of a call the
-- oldest go when they have more bytes than are kept.
--
-- KEYS     for each part: the record of the call (string), its parts (list, the oldest at
--          the head)
-- ARGV     for each: the second half of the call's address, the number of the part, its
--          arguments
--
-- returns  for each two values: 1: it is stored, now or before; 0: the call is over; -1:
--          the server refused a command, it is not stored
--          with 1 the call's key, 16 bytes, and the nodes that are told of news, 16
--          bytes each; with -1 the server's error; else nothing
local call, pcall = redis.call, redis.pcall

-- Stores one more part of r, whose record is record.
local function append(r, record, parts, n, args)
  -- First of all, as a server that is out of memory refuses it.
  local length = pcall('RPUSH', parts, args)
  if type(length) == 'table' then
    return -1, length.err
  end
  if n > r.last + 1 or r.first == 0 then -- of those between them the server has lost some
    call('LTRIM', parts, -1, -1)
    r.first, r.bytes, length = n, 0, 1
  end
  r.last, r.bytes = n, r.bytes + #args
  local gone = 0
  while r.bytes > r.most and gone < length do
    r.bytes = r.bytes - #call('LINDEX', parts, gone)
    gone = gone + 1
  end
  if gone > 0 then
    call('LTRIM', parts, gone, -1)
    r.first = gone < length and r.first + gone or 0
  end
  call('SET', record, format(r), 'KEEPTTL')
  if length - gone == 1 then
    call('PEXPIRE', parts, math.max(call('PTTL', record), 1))
  end
  return 1, r.key .. r.nodes
end

local result = {}
for k = 1, #KEYS, 2 do
  local at = (k - 1) / 2 * 3
  local n = tonumber(ARGV[at + 2])
  local value = call('GET', KEYS[k])
  local r = value and parse(value)
  local code, more = 0, ''
  if not r or r.second ~= ARGV[at + 1] or not running(r) or r.most == 0 then
    call('GETEX', KEYS[k]) -- a write, that a replica refuses
  elseif n <= r.last then
    call('GETEX', KEYS[k])
    code, more = 1, r.key .. r.nodes
  else
    code, more = append(r, KEYS[k], KEYS[k + 1], n, ARGV[at + 3])
  end
  result[#result + 1] = code
  result[#result + 1] = more
end
return result
