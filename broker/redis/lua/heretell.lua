-- What the scripts have in common that change who is in a channel: it stands before them.
-- A member's value is its number of sessions, a space, and its info. The channel's members
-- of all nodes are a hash: user -> value; and '' -> the number of the last change, which
-- begins at the time in us, so that it is never one that was given before.
local call = redis.call
local joined, changed, left = {}, {}, {}

-- parse returns the sessions and the info of a value; 0: there is none.
local function parse(value)
  if not value then
    return 0, ''
  end
  local space = string.find(value, ' ', 1, true)
  return tonumber(string.sub(value, 1, space - 1)), string.sub(value, space + 1)
end

-- shift has a user have more sessions, or less, and another info unless that is nil.
local function shift(members, user, more, info)
  local before, known = parse(call('HGET', members, user))
  local now = before + more
  info = info or known
  if now <= 0 then
    if before > 0 then
      call('HDEL', members, user)
      left[#left + 1] = #user .. ' ' .. user
    end
  elseif now ~= before or info ~= known then
    call('HSET', members, user, now .. ' ' .. info)
    local list = before > 0 and changed or joined
    list[#list + 1] = #user .. ' ' .. now .. ' ' .. #info .. ' ' .. user .. info
  end
end

-- tell publishes what has changed, if anything has, and returns it: an H; its number, how
-- many members there are, how many have joined, changed, left, each with a space behind it;
-- the node that made the change, 16 bytes; those who joined and changed (lengths of user
-- and info, and sessions, before them); those who left (the length of the user before it).
local function tell(members, publish, name, node)
  if #joined + #changed + #left == 0 then
    return ''
  end
  local number = tonumber(call('HGET', members, '') or 0) + 1
  if number == 1 then
    local time = call('TIME')
    number = time[1] * 1000000 + time[2]
  end
  call('HSET', members, '', string.format('%.0f', number))
  local count = call('HLEN', members) - 1
  if count == 0 then
    call('PEXPIRE', members, 3600000)
  elseif count == #joined then
    call('PERSIST', members)
  end
  local message = string.format('H%.0f %d %d %d %d ', number, count, #joined, #changed, #left) .. node ..
    table.concat(joined) .. table.concat(changed) .. table.concat(left)
  call(publish, name, message)
  return message
end
