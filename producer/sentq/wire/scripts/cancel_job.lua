-- include: batch_counts
-- include: place_in_batch
-- Cancel a job, unless it runs or has ended: replace its document, publish it, and record the job
-- for workers that have its message. If it belongs to a batch, count it there.
--
-- KEYS[1]  The job's document, and the channel on which it is published.
-- KEYS[2]  The document that made the job known, if it was sent together with others or in a batch.
-- KEYS[3]  The cancelled jobs: a sorted set, by the time in Unix seconds.
-- KEYS[4]  Batches that are complete and whose callback is not published.
-- ARGV[1]  The document of a cancelled job.
-- ARGV[2]  How long it is kept, in seconds; from when the job is due, if that is within a year. Jobs
--          that were cancelled earlier leave the set.
-- ARGV[3]  The id of the job.
-- ARGV[4]  What the keys of batches begin with.
--
-- Returns {the document before, or nil, 1 if it was replaced, else 0}.
--
-- Repeated, it changes nothing: the job has ended.
local sent = redis.call('GET', KEYS[2])
local before = redis.call('GET', KEYS[1]) or sent
if not may_cancel(status_of(before)) then return {before, 0} end
local now_s = redis.call('TIME')[1]
local due_ms = string.match(before, '"due_ms": *(%d+)') or 0
local until_due_s = math.ceil(due_ms / 1000 - now_s)
if until_due_s < 0 or until_due_s > 366 * 86400 then until_due_s = 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2] + until_due_s)
redis.call('PUBLISH', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now_s - ARGV[2])
redis.call('ZADD', KEYS[3], now_s, ARGV[3])
redis.call('EXPIRE', KEYS[3], ARGV[2])
local batch, place = place_in_batch(sent, ARGV[3], ARGV[4])
if place then count_ends(batch, KEYS[4], ARGV[2], {{place, ARGV[1]}}) end
return {before, 1}
