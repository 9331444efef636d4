-- Put unacknowledged messages back at the head of their queues: at the right end of a list, where
-- messages are taken from.
--
-- KEYS[1]  The hash of unacknowledged messages.
-- KEYS[2]  Its index: a sorted set of tags, by the time of the last renewal.
-- KEYS[3]  The list of the first message.
-- KEYS[4]  The count of its lost deliveries; then a list and a count for each other message.
-- ARGV[1]  Requeue only messages whose lease was not renewed for so many seconds; '' for all.
-- ARGV[2]  How long counts are kept, in seconds.
-- ARGV[3]  The tag of the first message.
-- ARGV[4]  The first message.
-- ARGV[5]  The new count; '' leaves it as it is. Then a tag, a message and a count in turn.
--
-- Returns how many were requeued. A message that is no longer recorded is not: another worker has
-- requeued it meanwhile, or it was acknowledged. So a repetition does nothing.
--
-- Removes first: after that Redis refuses nothing for want of memory.
local latest, requeued = math.huge, 0
if ARGV[1] ~= '' then
  local now = redis.call('TIME')
  latest = now[1] + now[2] / 1e6 - ARGV[1]
end
for i = 1, (#KEYS - 2) / 2 do
  local tag, message, count = ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]
  local score = redis.call('ZSCORE', KEYS[2], tag)
  if latest == math.huge or (score and tonumber(score) <= latest) then
    redis.call('ZREM', KEYS[2], tag)
    if redis.call('HDEL', KEYS[1], tag) == 1 then
      redis.call('RPUSH', KEYS[2 * i + 1], message)
      if count ~= '' then redis.call('SET', KEYS[2 * i + 2], count, 'EX', ARGV[2]) end
      requeued = requeued + 1
    end
  end
end
return requeued
