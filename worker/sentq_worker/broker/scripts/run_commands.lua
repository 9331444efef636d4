-- Run commands in one step, also while Redis has no free memory (`maxmemory`).
--
-- KEYS[1]  The key of the first command.
-- ARGV[1]  How many words the first command has; then its words; then the same for the others.
--
-- Returns the replies. An error of one command is an error of the script, and those after it are
-- not run.
--
-- The SREM removes nothing, and fails for a key that is not a set. After it, as after any write
-- that needs no memory, Redis refuses nothing for want of memory.
redis.pcall('SREM', KEYS[1], '')
local replies, first = {}, 1
while first <= #ARGV do
  local last = first + ARGV[first]
  replies[#replies + 1] = redis.call(unpack(ARGV, first + 1, last))
  first = last + 1
end
return replies
