-- End an attempt of a request, so that the request may be repeated.
--
-- KEYS[1]  The record of the idempotency key: a hash.
-- ARGV[1]  The name of the attempt.
--
-- Returns 1; or 0, without a change, if the attempt counts as lost and another one has begun.
if redis.call('HGET', KEYS[1], 'attempt') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'attempt', 'until_ms')
return 1
