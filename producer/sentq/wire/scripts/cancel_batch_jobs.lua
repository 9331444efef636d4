-- include: batch_counts
-- Close a batch, and cancel some of its jobs: those that neither run nor have ended.
--
-- N is the number of documents.
--
-- KEYS[1]  The hash of the batch.
-- KEYS[2]  Batches that are complete and whose callback is not published.
-- KEYS[3]  The cancelled jobs and batches: a sorted set, by the time in Unix seconds.
-- KEYS[4]  The document of the first job, and the channel on which it is published; N in all.
-- ARGV[1]  How long documents and the batch are kept, in seconds.
-- ARGV[2]  The id of the batch.
-- ARGV[3]  The place of the first job in the batch.
-- ARGV[4]  The document of a cancelled job, for the first job; N in all.
--
-- Returns how many jobs were cancelled; -1 if there is no such batch.
--
-- The set has the batch in place of its jobs, so workers learn of all of them by one entry. A job
-- whose document has expired waits still, unless the batch has counted it. A job that has ended
-- and was not counted, because a worker of an earlier version or a stock worker finished it, is
-- counted. Repeated, it changes nothing.
--
-- Removes first: after that Redis refuses nothing for want of memory.
local total, now_s, ends = batch_jobs(KEYS[1]), redis.call('TIME')[1], {}
if not total then return -1 end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now_s - ARGV[1])
redis.call('HSET', KEYS[1], 'closed', 1)
redis.call('ZADD', KEYS[3], now_s, ARGV[2])
redis.call('EXPIRE', KEYS[3], ARGV[1])
local cancelled = 0
for i = 4, #KEYS do
  local place, document = ARGV[3] + i - 4, redis.call('GET', KEYS[i])
  local status = status_of(document)
  local counted = redis.call('BITFIELD', KEYS[1] .. ':states', 'GET', 'u2', '#' .. place)[1] > 0
  if place < total and not counted and (status == 'absent' or may_cancel(status)) then
    redis.call('SET', KEYS[i], ARGV[i], 'EX', ARGV[1])
    redis.call('PUBLISH', KEYS[i], ARGV[i])
    ends[#ends + 1] = {place, ARGV[i]}
    cancelled = cancelled + 1
  elseif not counted and is_final(status) then
    ends[#ends + 1] = {place, document}
  end
end
count_ends(KEYS[1], KEYS[2], ARGV[1], ends)
return cancelled
