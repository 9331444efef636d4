-- include: batch_counts
-- Close a batch: it has all of its jobs, and is complete when they have ended.
--
-- KEYS[1]  The hash of the batch.
-- KEYS[2]  Batches that are complete and whose callback is not published.
-- ARGV[1]  How long the batch is kept, in seconds.
--
-- Returns 1; or 0 if there is no such batch. Repeated, it changes nothing.
--
-- EXPIRE comes first: after a write that needs no memory Redis refuses nothing for want of it.
if not batch_jobs(KEYS[1]) then return 0 end
keep_batch(KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], 'closed', 1)
complete_batch(KEYS[1], KEYS[2], ARGV[1])
redis.pcall('PUBLISH', KEYS[1], 0)
return 1
