-- Replace what is recorded about an unacknowledged message.
--
-- KEYS[1]  The hash of unacknowledged messages.
-- KEYS[2]  Its index.
-- ARGV[1]  The tag of the message.
-- ARGV[2]  The new entry.
--
-- Returns 1; or 0 if the tag is no longer recorded, and nothing was written.
--
-- The ZREM removes nothing, but it comes first: after a removal Redis refuses nothing for want of
-- memory.
redis.call('ZREM', KEYS[2], '')
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
