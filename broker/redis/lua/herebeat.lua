-- Renews the lease of what a node has put in one lane, and finds stays of nodes that are
-- over. A stay is what one node has put since it could last rely on the server: one whose
-- lease is over, or that the server has forgotten, never comes back.
--
-- KEYS[1]  nodes (sorted set: stay -> end of its lease in ms)
-- KEYS[2]  dead stays (sorted set: stay -> when another node may remove its members, in ms)
-- KEYS[3]  watch (string: since when the nodes have come without a break, a space, when the
--          last one came)
-- KEYS[4]  channels of the stay (hash: '' -> number of its last command); or none, with the
--          mode look
-- ARGV[1]  length of the lease in ms
-- ARGV[2]  what is wanted: look, only for dead stays; begin the stay; renew it; or end it
-- ARGV[3]  how many dead stays are returned at most
-- ARGV[4]  the stay
-- ARGV[5]  with begin: the stay that it follows, which is over; or ''
--
-- returns  {1: the stay is there, else 0; the number of its last command; dead stays, whose
--          members the caller is to remove within a lease}
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease, mode, most, stay = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local function text(n) return string.format('%.0f', n) end

call('ZREM', KEYS[2], '') -- a write that needs no memory: out of memory the others are let through

local there, last = 0, '0'
if mode == 'begin' then
  call('ZADD', KEYS[1], text(now + lease), stay)
  call('HSET', KEYS[4], '', 0)
  if ARGV[5] ~= '' then
    call('ZREM', KEYS[1], ARGV[5])
    call('ZADD', KEYS[2], text(now + lease), ARGV[5])
  end
  there = 1
elseif mode == 'renew' and call('ZSCORE', KEYS[1], stay) then
  call('ZADD', KEYS[1], text(now + lease), stay)
  there, last = 1, call('HGET', KEYS[4], '') or '0'
elseif mode == 'end' then
  call('ZREM', KEYS[1], stay)
  call('ZADD', KEYS[2], text(now + lease), stay)
end

-- While the server could not be reached nobody could renew a lease: then they count from
-- when it can be.
local since, seen = string.match(call('GET', KEYS[3]) or '', '^(%d+) (%d+)$')
since, seen = tonumber(since), tonumber(seen)
if not since or now - seen > lease / 2 or now < seen then
  since = now
end
call('SET', KEYS[3], text(since) .. ' ' .. text(now), 'PX', lease)
if now - since >= lease then
  for _, over in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. text(now), 'LIMIT', 0, most)) do
    call('ZREM', KEYS[1], over)
    call('ZADD', KEYS[2], text(now), over)
  end
end
local dead = call('ZRANGEBYSCORE', KEYS[2], '-inf', text(now), 'LIMIT', 0, most)
for _, over in ipairs(dead) do
  call('ZADD', KEYS[2], text(now + lease), over)
end
return {there, last, dead}
