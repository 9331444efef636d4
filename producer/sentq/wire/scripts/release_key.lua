-- include: key_record
-- Flag: allow-oom
-- Release the reservation of an idempotency key: its job was not sent.
--
-- KEYS[1]  Where the job of the idempotency key is recorded.
-- ARGV[1]  The id of the job.
-- ARGV[2]  The digests of its texts, as `key_record` describes them.
--
-- Returns nothing. A key that belongs to another job, or whose job was sent, stays.
if redis.call('GET', KEYS[1]) == key_reservation(ARGV[1], ARGV[2]) then
  redis.call('DEL', KEYS[1])
end
