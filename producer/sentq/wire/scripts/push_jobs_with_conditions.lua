-- include: key_record
-- include: queue_limits
-- As `push_jobs`, within the limits of the queue, and once for each idempotency key.
--
-- L is the number of the queue's other lists, K that of idempotency keys: one for each job, or 0.
--
-- KEYS[1]       The queue's list.
-- KEYS[2]       The document that makes the jobs known.
-- KEYS[3]       The first of the queue's other lists, one for each lower priority; L in all.
-- KEYS[3 + L]   Where the job of the first idempotency key is recorded; K in all.
-- ARGV[1]       How long the document and the idempotency keys are kept, in seconds.
-- ARGV[2]       The document.
-- ARGV[3]       How many jobs may wait in all lists; -1 for no limit.
-- ARGV[4]       How many bytes may wait in all lists; -1 for no limit.
-- ARGV[5]       L.
-- ARGV[6]       K.
-- ARGV[7]       The id of the first job; K in all.
-- ARGV[7 + K]   The digests of the first job's texts, as `key_record` describes them; K in all.
-- ARGV[7 + 2K]  The first message; then the others.
--
-- Returns {1}, followed by K ids: of the job that was sent first under each idempotency key. Or
-- {0, jobs waiting, bytes waiting, jobs to add, bytes to add}, if these would exceed a limit. Or
-- {-1, n} if the idempotency key of job n, counted from 0, belongs to a job with other texts. Or
-- {-2} if the job of a key is still being sent by `reserve_key`: nothing was sent, try again.
--
-- All or nothing: if memory is short, Redis refuses the first SET, and nothing has been written.
-- Repeated with the same idempotency keys, it sends nothing.
local max_jobs, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local other_lists, keyed = tonumber(ARGV[5]), tonumber(ARGV[6])
local reply, messages, new_records, size_bytes = {1}, {}, {}, 0
for i = 1, #ARGV - 6 - 2 * keyed do
  local message, key = ARGV[6 + 2 * keyed + i], KEYS[2 + other_lists + i]
  local known
  if keyed > 0 then
    local id, digests = ARGV[6 + i], ARGV[6 + keyed + i]
    known = new_records[key] or redis.call('GET', key)
    if known and is_reserved(known) then return {-2} end
    if known and not has_same_texts(known, digests) then return {-1, i - 1} end
    if not known then new_records[key] = key_record(id, digests) end
    reply[i + 1] = known and recorded_id(known) or id
  end
  if not known then
    messages[#messages + 1] = message
    size_bytes = size_bytes + #message
  end
end
if #messages == 0 then return reply end
local lists = {KEYS[1], unpack(KEYS, 3, 2 + other_lists)}
local exceeded = exceeded_limits(lists, max_jobs, max_bytes, #messages, size_bytes)
if exceeded then return exceeded end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[1], 'NX')
for key, record in pairs(new_records) do redis.call('SET', key, record, 'EX', ARGV[1]) end
redis.call('LPUSH', KEYS[1], unpack(messages))
return reply
