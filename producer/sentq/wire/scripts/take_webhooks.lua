-- Flag: allow-oom
-- Take webhooks that are due: new ones from their queue, and those whose retry is due or whose lease
-- has expired. Each is leased: it is due again when the lease expires, unless it is settled before.
--
-- KEYS[1]  The list of the queue, into which workers push.
-- KEYS[2]  Webhooks by when they are due, in Unix milliseconds: a sorted set.
-- KEYS[3]  Webhooks after their last attempt: a sorted set.
-- ARGV[1]  What the keys of webhooks begin with.
-- ARGV[2]  The most webhooks to take.
-- ARGV[3]  How long a lease holds, in milliseconds.
-- ARGV[4]  The most webhooks that wait. While there are so many, new ones stay in their queue.
-- ARGV[5]  The most requests to one host at a time.
-- ARGV[5 + N]  A host and how many requests to it are under way, in turn.
--
-- Returns {the time in milliseconds, 1 if more may be due now else 0, webhooks}. Each webhook is
-- {its id, when its lease expires, its fields and their values in turn}. Repeated, it takes others.
--
-- A webhook of a host that has all its requests under way is due a few seconds later, so that it
-- does not stand before those of other hosts. The id is the digest of the message: a webhook that a
-- Redis has lost and taken from its queue again has the same one.
--
-- The first ZREM removes nothing: after a removal Redis refuses nothing for want of memory.
redis.call('ZREM', KEYS[2], '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most, lease_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
local in_flight = {}
for place = 6, #ARGV, 2 do in_flight[ARGV[place]] = tonumber(ARGV[place + 1]) end

for _ = 1, math.min(most, tonumber(ARGV[4]) - redis.call('ZCARD', KEYS[2])) do
  local message = redis.call('LINDEX', KEYS[1], -1)
  if not message then break end
  local id = 'msg_' .. string.sub(redis.sha1hex(message), 1, 32)
  if redis.call('EXISTS', ARGV[1] .. id) == 0 then
    redis.call('HSET', ARGV[1] .. id, 'message', message, 'first_ms', now, 'attempts', 0)
  end
  redis.call('PERSIST', ARGV[1] .. id)
  redis.call('ZADD', KEYS[2], 'NX', now, id)
  redis.call('ZREM', KEYS[3], id)
  redis.call('RPOP', KEYS[1])
end

local scanned = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1000)
local taken = {}
for place, id in ipairs(scanned) do
  if #taken == most then break end
  local key = ARGV[1] .. id
  local host = redis.call('HGET', key, 'host')
  if host and (in_flight[host] or 0) >= tonumber(ARGV[5]) then
    redis.call('ZADD', KEYS[2], now + 2000 + 3 * place, id)
  elseif redis.call('EXISTS', key) == 0 then
    redis.call('ZREM', KEYS[2], id)
  else
    if host then in_flight[host] = (in_flight[host] or 0) + 1 end
    local lease = now + lease_ms
    redis.call('HINCRBY', key, 'attempts', 1)
    redis.call('HSET', key, 'lease_ms', lease)
    redis.call('ZADD', KEYS[2], lease, id)
    taken[#taken + 1] = {id, lease, redis.call('HGETALL', key)}
  end
end
return {now, (#scanned == 1000 or #taken == most) and 1 or 0, taken}
