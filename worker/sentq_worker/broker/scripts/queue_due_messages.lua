-- include: scheduled_messages
-- Move the messages of scheduled jobs that are due to the ends of their queues: to the left end of
-- a list, as if they were sent now.
--
-- KEYS[1]  The sorted set of scheduled jobs.
-- KEYS[2]  The hash of their messages.
-- ARGV[1]  How many messages to move at most.
-- ARGV[2]  In how many milliseconds a message is tried again whose list is not a list.
--
-- Returns {how many were moved, how many are tried again later, in how many milliseconds the next
-- job is due}. The last is -1 if no job is scheduled. A message that cannot be read is removed.
--
-- The lists are those from which workers took the messages; they are not among KEYS. The first
-- ZREM removes nothing: after a removal Redis refuses nothing for want of memory. A message is
-- pushed before it is removed, so that none is lost if its list has become another type.
redis.call('ZREM', KEYS[1], '')
local now, moved, postponed = redis_ms(), 0, 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local found = read_scheduled(KEYS[2], name)
  local pushed = found and redis.pcall('LPUSH', found[1], found[3])
  if type(pushed) == 'table' then
    redis.call('ZADD', KEYS[1], now + ARGV[2], name)
    postponed = postponed + 1
  else
    remove_scheduled(KEYS[1], KEYS[2], name)
    if found then moved = moved + 1 end
  end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {moved, postponed, first[2] and math.max(0, first[2] - now) or -1}
