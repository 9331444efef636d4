-- include: scheduled_messages
-- Take messages of scheduled jobs before these are due, by the ids of the jobs, and record them as
-- unacknowledged.
--
-- N is the number of queues.
--
-- KEYS[1]      The hash of unacknowledged messages: tag -> [message, "", queue].
-- KEYS[2]      Its index: a sorted set of tags, by Redis' time in Unix seconds.
-- KEYS[3]      The sorted set of scheduled jobs.
-- KEYS[4]      The hash of their messages.
-- ARGV[1]      What the tags of these messages begin with; a number from 0 follows.
-- ARGV[2]      How many messages to take at most.
-- ARGV[3]      Take no further message once those taken have so many bytes.
-- ARGV[4]      N.
-- ARGV[5]      The first queue that this worker reads; N in all.
-- ARGV[5 + N]  The first id; then the others.
--
-- Returns {how many ids were looked at, {a queue and a message in turn}}, in the order of the ids.
-- Jobs that are not scheduled, or belong to other queues, are passed over.
--
-- The ZREM removes nothing, but it comes first: after a removal Redis refuses nothing for want of
-- memory.
redis.call('ZREM', KEYS[3], '')
local now = redis.call('TIME')
local score = string.format('%d.%06d', now[1], now[2])
local taken, count, bytes, looked_at, is_read = {}, 0, 0, 0, {}
for i = 5, 4 + ARGV[4] do is_read[ARGV[i]] = true end
for i = 5 + ARGV[4], #ARGV do
  if count >= tonumber(ARGV[2]) or bytes >= tonumber(ARGV[3]) then break end
  looked_at = looked_at + 1
  local found = read_scheduled(KEYS[4], ARGV[i])
  if found and is_read[found[2]] then
    local tag, queue, message = ARGV[1] .. count, found[2], found[3]
    redis.call('HSET', KEYS[1], tag, '[' .. message .. ', "", ' .. cjson.encode(queue) .. ']')
    redis.call('ZADD', KEYS[2], score, tag)
    remove_scheduled(KEYS[3], KEYS[4], ARGV[i])
    taken[#taken + 1] = queue
    taken[#taken + 1] = message
    count, bytes = count + 1, bytes + #message
  end
end
return {looked_at, taken}
