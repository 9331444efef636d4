-- include: batch_counts
-- include: queue_limits
-- As `push_jobs`, for jobs of a batch: enter them into the batch, too.
--
-- KEYS[1]  The queue's list.
-- KEYS[2]  The document that makes the jobs known.
-- KEYS[3]  The hash of the batch.
-- KEYS[4]  Batches that are complete and whose callback is not published.
-- KEYS[5]  The first of the queue's other lists, one for each lower priority; none without limits.
-- ARGV[1]  How long the document and the batch are kept, in seconds.
-- ARGV[2]  The document.
-- ARGV[3]  How many jobs may wait in all lists; -1 for no limit.
-- ARGV[4]  How many bytes may wait in all lists; -1 for no limit.
-- ARGV[5]  The place of the first job in the batch: how many jobs the batch has.
-- ARGV[6]  The ids of the jobs, 16 bytes each.
-- ARGV[7]  '1' to close the batch, too; else ''.
-- ARGV[8]  The first message; then the others. None if Celery publishes the messages.
--
-- Returns {1}. Or, without a change, {0, jobs waiting, bytes waiting, jobs to add, bytes to add} if
-- these would exceed a limit of the queue; {-1, n} if the batch has n jobs, so that the place is
-- wrong; {-2} if the batch is closed; {-3} if there is no such batch; {-4, n} if it would have more
-- than n jobs.
--
-- All or nothing: if memory is short, Redis refuses the SET, and nothing has been written. Repeated,
-- it changes nothing.
local total, place, added = batch_jobs(KEYS[3]), tonumber(ARGV[5]), #ARGV[6] / 16
if not total then return {-3} end
if total ~= place then
  local known = redis.call('GETRANGE', KEYS[3] .. ':jobs', place * 16, (place + added) * 16 - 1)
  return known == ARGV[6] and {1} or {-1, total}
end
if redis.call('HEXISTS', KEYS[3], 'closed') == 1 then return {-2} end
if place + added > MOST_JOBS then return {-4, MOST_JOBS} end
local messages, size_bytes = {unpack(ARGV, 8)}, 0
for _, message in ipairs(messages) do size_bytes = size_bytes + #message end
if #KEYS > 4 then
  local lists = {KEYS[1], unpack(KEYS, 5)}
  local exceeded = exceeded_limits(
    lists, tonumber(ARGV[3]), tonumber(ARGV[4]), #messages, size_bytes)
  if exceeded then return exceeded end
end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[1], 'NX')
redis.call('APPEND', KEYS[3] .. ':jobs', ARGV[6])
redis.call('HSET', KEYS[3], 'total', place + added)
if #messages > 0 then redis.call('LPUSH', KEYS[1], unpack(messages)) end
keep_batch(KEYS[3], ARGV[1])
if ARGV[7] == '1' then
  redis.call('HSET', KEYS[3], 'closed', 1)
  complete_batch(KEYS[3], KEYS[4], ARGV[1])
end
redis.pcall('PUBLISH', KEYS[3], 0)
return {1}
