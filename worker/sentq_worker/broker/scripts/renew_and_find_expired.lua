-- Renew the leases of a worker's messages, and find messages whose leases have expired.
--
-- N is the number of entry endings.
--
-- KEYS[1]      The hash of unacknowledged messages.
-- KEYS[2]      Its index: a sorted set of tags, by the time of the last renewal.
-- ARGV[1]      A lease has expired if it was not renewed for so many seconds.
-- ARGV[2]      How many expired leases to look at; 0 to renew only.
-- ARGV[3]      How many expired leases to skip.
-- ARGV[4]      Look no further once the found entries have so many bytes.
-- ARGV[5]      N.
-- ARGV[6]      The first ending; N in all. Entries of the queues that this worker reads end so.
-- ARGV[6 + N]  The first tag to renew; then the others.
--
-- Returns {Redis' time in Unix seconds, tags to renew that are no longer recorded, how many expired
-- leases were looked at, a tag and its entry in turn}. Only entries with one of the endings are
-- found: workers of other queues may have leases of another length.
--
-- The ZREM removes nothing, but it comes first: after a removal Redis refuses no ZADD for want of
-- memory. An index entry without a message is removed.
redis.call('ZREM', KEYS[2], '')
local now = redis.call('TIME')
local score = string.format('%d.%06d', now[1], now[2])
local endings, gone = {}, {}
for i = 6, 5 + ARGV[5] do endings[#endings + 1] = ARGV[i] end
for first = 6 + ARGV[5], #ARGV, 1000 do
  local scores = {}
  for i = first, math.min(first + 999, #ARGV) do
    scores[#scores + 1] = score
    scores[#scores + 1] = ARGV[i]
  end
  if redis.call('ZADD', KEYS[2], 'XX', 'CH', unpack(scores)) < #scores / 2 then
    for i = 2, #scores, 2 do
      if not redis.call('ZSCORE', KEYS[2], scores[i]) then gone[#gone + 1] = scores[i] end
    end
  end
end
if ARGV[2] == '0' then return {score, gone, 0, {}} end
local found, looked_at, bytes = {}, 0, 0
local latest = string.format('%.6f', now[1] + now[2] / 1e6 - ARGV[1])
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', latest, 'LIMIT', ARGV[3], ARGV[2])
for _, tag in ipairs(expired) do
  if bytes >= tonumber(ARGV[4]) then break end
  looked_at = looked_at + 1
  local entry = redis.call('HGET', KEYS[1], tag)
  if not entry then
    redis.call('ZREM', KEYS[2], tag)
    entry = ''
  end
  for _, ending in ipairs(endings) do
    if string.sub(entry, -#ending) == ending then
      found[#found + 1] = tag
      found[#found + 1] = entry
      bytes = bytes + #entry
      break
    end
  end
end
return {score, gone, looked_at, found}
