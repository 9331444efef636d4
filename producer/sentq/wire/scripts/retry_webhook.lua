-- Flag: allow-oom
-- Have a webhook sent now: one that waits for its next attempt, or is kept after its last one.
--
-- KEYS[1]  Webhooks by when they are due: a sorted set.
-- KEYS[2]  Webhooks after their last attempt: a sorted set.
-- KEYS[3]  The webhook: a hash.
-- KEYS[4]  URLs whose receivers have answered 410: a sorted set. That of the webhook is removed.
-- ARGV[1]  The id of the webhook.
--
-- Returns 'retried'; 'in_flight' if it is being sent; 'not_found' if there is no such webhook.
--
-- Repeated, it returns 'retried' and changes nothing, until the webhook is taken.
redis.call('ZREM', KEYS[1], '')
local id = ARGV[1]
local due = redis.call('ZSCORE', KEYS[1], id)
local is_dead = redis.call('ZSCORE', KEYS[2], id)
if redis.call('EXISTS', KEYS[3]) == 0 or not (due or is_dead) then
  redis.call('ZREM', KEYS[2], id)
  return 'not_found'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('HGET', KEYS[3], 'lease_ms')
if due and lease and tonumber(due) == tonumber(lease) and tonumber(due) > now then
  return 'in_flight'
end
local url = redis.call('HGET', KEYS[3], 'url')
if url then redis.call('ZREM', KEYS[4], url) end
if is_dead then
  redis.call('HSET', KEYS[3], 'attempts', 0, 'first_ms', now)
  redis.call('PERSIST', KEYS[3])
end
redis.call('ZADD', KEYS[1], now, id)
redis.call('ZREM', KEYS[2], id)
return 'retried'
