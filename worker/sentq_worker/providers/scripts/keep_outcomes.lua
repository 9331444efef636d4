-- Cache outcomes, and remove those that have expired or exceed the limit.
--
-- KEYS[1]  The index: a sorted set of the cache's keys, by the time of their writing in
--          microseconds by Redis' clock.
-- KEYS[2]  The key of the first outcome; then those of the others.
-- ARGV[1]  How many outcomes are kept at most. The oldest are removed first.
-- ARGV[2]  How long each is kept, in seconds.
-- ARGV[3]  The first outcome; then the others.
--
-- Returns 1.
--
-- If memory is short, Redis refuses the first SET, and nothing has been written. Repeated, it
-- renews the outcomes.
local clock = redis.call('TIME')
local now_us, ttl_s = clock[1] * 1000000 + clock[2], tonumber(ARGV[2])
for i = 2, #KEYS do
  redis.call('SET', KEYS[i], ARGV[i + 1], 'EX', ttl_s)
  redis.call('ZADD', KEYS[1], now_us, KEYS[i])
end
local function forget(keys)
  for first = 1, #keys, 1000 do
    local some = {unpack(keys, first, math.min(first + 999, #keys))}
    redis.call('DEL', unpack(some))
    redis.call('ZREM', KEYS[1], unpack(some))
  end
end
forget(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_us - ttl_s * 1000000))
local excess = redis.call('ZCOUNT', KEYS[1], '-inf', '+inf') - ARGV[1]
if excess > 0 then forget(redis.call('ZRANGE', KEYS[1], 0, excess - 1)) end
redis.call('EXPIRE', KEYS[1], ttl_s)
return 1
