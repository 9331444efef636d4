-- Store the report of a worker, and enter the worker into the index of reports.
--
-- KEYS[1]  The report.
-- KEYS[2]  The index: a sorted set of workers, by the Unix time in seconds until when their
--          reports are kept.
-- ARGV[1]  The name of the worker.
-- ARGV[2]  The report as JSON.
-- ARGV[3]  How long it is kept, in seconds.
--
-- Returns nothing. Workers whose reports have expired leave the index. That comes first: after a
-- removal Redis refuses nothing for want of memory.
local now_s = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_s)
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('ZADD', KEYS[2], now_s + ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[3])
