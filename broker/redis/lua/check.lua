-- Tries commands out, so that the first who misses one is not a call.
--
-- KEYS[1]  a key that nobody uses
-- ARGV     names of commands; they may have no key, or one and up to three words
--
-- returns  the name of each that gets an error, and the error
local failed = {}
for _, name in ipairs(ARGV) do
  -- How many words a command takes is not known here: a few are tried.
  local words, reply = {name}, nil
  for _, word in ipairs({false, KEYS[1], '0', '0', '0'}) do
    if word then
      words[#words + 1] = word
    end
    reply = redis.pcall(unpack(words))
    if type(reply) ~= 'table' or not reply.err or not string.find(reply.err, 'rong number') then
      break
    end
  end
  if type(reply) == 'table' and reply.err then
    failed[#failed + 1] = name
    failed[#failed + 1] = reply.err
  end
end
redis.pcall('DEL', KEYS[1])
return failed
