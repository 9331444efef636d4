-- Begin a request, unless another one with the same idempotency key has not ended, or had other
-- content.
--
-- KEYS[1]  The record of the idempotency key: a hash.
-- ARGV[1]  The fingerprint of the content.
-- ARGV[2]  A name of this attempt, which no other has.
-- ARGV[3]  How long the attempt may take until it is renewed, in milliseconds.
-- ARGV[4]  How long the record is kept, in seconds.
-- ARGV[5]  What the request makes, if it makes something new; else ''.
--
-- Returns {'begun', what the first attempt has made}; {'conflict'}; or {'in progress', milliseconds
-- until that attempt counts as lost}.
--
-- Repeated by the same attempt, it renews the attempt.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'fingerprint', 'attempt', 'until_ms', 'made')
if known[1] and known[1] ~= ARGV[1] then return {'conflict'} end
local left_ms = (tonumber(known[3]) or 0) - now_ms
if known[2] and known[2] ~= ARGV[2] and left_ms > 0 then return {'in progress', left_ms} end
local made = known[4] or ARGV[5]
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'attempt', ARGV[2],
  'until_ms', now_ms + ARGV[3], 'made', made)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {'begun', made}
