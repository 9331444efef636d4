-- As `push_jobs`, within the limits of the queue, and once for each idempotency key.
--
-- L is the number of the queue's other lists, K that of idempotency keys: one for each job, or 0.
--
-- KEYS[1]      The queue's list.
-- KEYS[2]      The document that makes the jobs known.
-- KEYS[3]      The first of the queue's other lists, one for each lower priority; L in all.
-- KEYS[3 + L]  Where the job of the first idempotency key is recorded; K in all.
-- ARGV[1]      How long the document and the idempotency keys are kept, in seconds.
-- ARGV[2]      The document.
-- ARGV[3]      How many jobs may wait in all lists; -1 for no limit.
-- ARGV[4]      How many bytes may wait in all lists; -1 for no limit.
-- ARGV[5]      L.
-- ARGV[6]      K.
-- ARGV[7]      The id of the first job; K in all.
-- ARGV[7 + K]  The first message; then the others.
--
-- Returns {1}, followed by K ids: of the job that was sent first under each idempotency key. Or
-- {0, jobs waiting, bytes waiting, jobs to add, bytes to add}, if these would exceed a limit.
--
-- All or nothing: if memory is short, Redis refuses the first SET, and nothing has been written.
-- Repeated with the same idempotency keys, it sends nothing.
local max_jobs, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local other_lists, keyed = tonumber(ARGV[5]), tonumber(ARGV[6])
local reply, messages, new_ids, size_bytes = {1}, {}, {}, 0
for i = 1, #ARGV - 6 - keyed do
  local key, id = KEYS[2 + other_lists + i], ARGV[6 + i]
  local known_id = keyed > 0 and (new_ids[key] or redis.call('GET', key))
  if not known_id then
    local message = ARGV[6 + keyed + i]
    messages[#messages + 1] = message
    size_bytes = size_bytes + #message
    if keyed > 0 then new_ids[key] = id end
  end
  if keyed > 0 then reply[i + 1] = known_id or id end
end
if #messages == 0 then return reply end
local waiting_jobs, waiting_bytes = 0, 0
for i = 1, other_lists + 1 do
  local list = i == 1 and KEYS[1] or KEYS[i + 1]
  waiting_jobs = waiting_jobs + redis.call('LLEN', list)
  if max_bytes >= 0 then
    waiting_bytes = waiting_bytes + (redis.call('MEMORY', 'USAGE', list, 'SAMPLES', 5) or 0)
  end
end
local exceeds_jobs = max_jobs >= 0 and waiting_jobs + #messages > max_jobs
local exceeds_bytes = max_bytes >= 0 and waiting_bytes + size_bytes > max_bytes
if exceeds_jobs or exceeds_bytes then
  return {0, waiting_jobs, waiting_bytes, #messages, size_bytes}
end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[1], 'NX')
for key, id in pairs(new_ids) do redis.call('SET', key, id, 'EX', ARGV[1]) end
redis.call('LPUSH', KEYS[1], unpack(messages))
return reply
