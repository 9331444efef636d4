-- include: key_record
-- Reserve an idempotency key for a job that is about to be sent.
--
-- KEYS[1]  Where the job of the idempotency key is recorded.
-- ARGV[1]  The id of the job.
-- ARGV[2]  The digests of its texts, as `key_record` describes them.
-- ARGV[3]  How long the reservation lasts, in seconds.
--
-- Returns {'reserved'} if the key is reserved for this job; {'sending'} if the job that has the key
-- is still being sent; {'sent', id} if it was sent; {'conflict'} if it has other texts.
--
-- Repeated for the same job, it renews the reservation.
local known, reservation = redis.call('GET', KEYS[1]), key_reservation(ARGV[1], ARGV[2])
if not known or known == reservation then
  redis.call('SET', KEYS[1], reservation, 'EX', ARGV[3])
  return {'reserved'}
end
if is_reserved(known) then return {'sending'} end
if not has_same_texts(known, ARGV[2]) then return {'conflict'} end
return {'sent', recorded_id(known)}
