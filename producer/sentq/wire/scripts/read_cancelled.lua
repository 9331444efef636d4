-- Read which jobs were cancelled.
--
-- KEYS[1]  The cancelled jobs: a sorted set, by the time in Unix seconds.
-- ARGV[1]  Return jobs that were cancelled at this time or later.
-- ARGV[2]  Leave out so many of these.
-- ARGV[3]  How many to return at most.
-- ARGV[4]  How long a result is kept, in seconds. Older entries are removed.
--
-- Returns Redis' time in Unix seconds, then a job id and its time in turn, the earliest first.
--
-- Senders write the times. Entries of the future are removed: a reader that went on from the time
-- of one would read none of those that come after it.
local now_s = redis.call('TIME')[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. now_s + 1, '+inf')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now_s - ARGV[4])
local found = redis.call(
  'ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', ARGV[2], ARGV[3])
table.insert(found, 1, now_s)
return found
