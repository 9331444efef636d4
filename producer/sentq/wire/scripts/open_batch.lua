-- Make a batch known, without jobs.
--
-- KEYS[1]  The hash of the batch.
-- ARGV[1]  How long the batch is kept, in seconds.
-- ARGV[2]  The callback of the batch as JSON; '' for none.
--
-- Returns nothing. Repeated, it changes nothing.
if redis.call('EXISTS', KEYS[1]) == 1 then return end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'total', 0, 'opened_ms', now[1] * 1000 + math.floor(now[2] / 1000))
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'callback', ARGV[2]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
