-- Release the reservation of an idempotency key: its job was not sent.
--
-- KEYS[1]  Where the job of the idempotency key is recorded.
-- ARGV[1]  The id of the job.
--
-- Returns nothing. A key that belongs to another job, or whose job was sent, stays.
if redis.call('GET', KEYS[1]) == '?' .. ARGV[1] then redis.call('DEL', KEYS[1]) end
