-- Put unacknowledged messages back at the head of their queues: at the right end of a list, where
-- messages are taken from.
--
-- KEYS[1]  The hash of unacknowledged messages.
-- KEYS[2]  Its index: a sorted set of tags, by the time of the last renewal.
-- KEYS[3]  The list of the first message; then a list for each other message.
-- ARGV[1]  Requeue only messages whose lease was not renewed for so many seconds; '' for all.
-- ARGV[2]  The tag of the first message.
-- ARGV[3]  The first message; then a tag and a message in turn.
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
for i = 3, #KEYS do
  local tag = ARGV[2 * i - 4]
  local score = redis.call('ZSCORE', KEYS[2], tag)
  if latest == math.huge or (score and tonumber(score) <= latest) then
    redis.call('ZREM', KEYS[2], tag)
    if redis.call('HDEL', KEYS[1], tag) == 1 then
      redis.call('RPUSH', KEYS[i], ARGV[2 * i - 3])
      requeued = requeued + 1
    end
  end
end
return requeued
