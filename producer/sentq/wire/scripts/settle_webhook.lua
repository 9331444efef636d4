-- Flag: allow-oom
-- Record what became of a webhook that was taken.
--
-- KEYS[1]  Webhooks by when they are due: a sorted set.
-- KEYS[2]  Webhooks after their last attempt, by when that was, in Unix milliseconds: a sorted set.
-- KEYS[3]  The webhook: a hash.
-- KEYS[4]  URLs whose receivers have answered 410, by when they did: a sorted set.
-- ARGV[1]  The id of the webhook.
-- ARGV[2]  When its lease expires, as it was taken.
-- ARGV[3]  'delivered'; 'retry'; 'dead'; or 'gone', which is dead and no more for its URL.
-- ARGV[4]  For 'retry': in how many milliseconds. For others: how long the dead are kept, in seconds.
-- ARGV[5]  The most webhooks that are kept after their last attempt.
-- ARGV[6]  What the keys of webhooks begin with.
-- ARGV[6 + N]  Fields to write and their values, in turn. With a `body` the message is removed.
--
-- Returns 1; or 0 if the lease has expired and another one has the webhook. Then nothing is written,
-- unless it was delivered. Repeated, it returns 0, or for a webhook that was delivered 1.
--
-- The first ZREM removes nothing: after a removal Redis refuses nothing for want of memory.
redis.call('ZREM', KEYS[1], '')
local id, what = ARGV[1], ARGV[3]
if what == 'delivered' then
  redis.call('DEL', KEYS[3])
  redis.call('ZREM', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
  return 1
end
local lease = redis.call('ZSCORE', KEYS[1], id)
if not lease or tonumber(lease) ~= tonumber(ARGV[2]) then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for place = 7, #ARGV, 2 do
  redis.call('HSET', KEYS[3], ARGV[place], ARGV[place + 1])
  if ARGV[place] == 'body' then redis.call('HDEL', KEYS[3], 'message') end
end
redis.call('HDEL', KEYS[3], 'lease_ms')
if what == 'retry' then
  redis.call('ZADD', KEYS[1], now + ARGV[4], id)
  return 1
end

local ttl_s = tonumber(ARGV[4])
redis.call('ZREM', KEYS[1], id)
redis.call('ZADD', KEYS[2], now, id)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ttl_s * 1000)
redis.call('EXPIRE', KEYS[2], ttl_s)
redis.call('EXPIRE', KEYS[3], ttl_s)
local excess = math.min(1000, redis.call('ZCARD', KEYS[2]) - ARGV[5])
for _, oldest in ipairs(excess > 0 and redis.call('ZRANGE', KEYS[2], 0, excess - 1) or {}) do
  redis.call('ZREM', KEYS[2], oldest)
  redis.call('DEL', ARGV[6] .. oldest)
end
local url = what == 'gone' and redis.call('HGET', KEYS[3], 'url')
if url then
  redis.call('ZADD', KEYS[4], now, url)
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now - ttl_s * 1000)
  redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -10001)
  redis.call('EXPIRE', KEYS[4], ttl_s)
end
return 1
