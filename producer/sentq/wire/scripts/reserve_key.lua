-- Reserve an idempotency key for a job that is about to be sent.
--
-- KEYS[1]  Where the job of the idempotency key is recorded.
-- ARGV[1]  The id of the job.
-- ARGV[2]  How long the reservation lasts, in seconds.
--
-- Returns nil if the key is reserved for this job. Else the id of the job that has the key; with a
-- '?' before it if that job is still being sent.
--
-- Repeated for the same job, it renews the reservation.
local known_id = redis.call('GET', KEYS[1])
if known_id and known_id ~= '?' .. ARGV[1] then return known_id end
redis.call('SET', KEYS[1], '?' .. ARGV[1], 'EX', ARGV[2])
return false
