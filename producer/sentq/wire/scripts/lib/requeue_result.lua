-- include: result_states
-- requeue_result(key, document, ttl_s): write that a job is queued again, unless it has an
-- outcome, was cancelled, or its document is foreign.
--
-- key       The job's document.
-- document  The document of a queued job.
-- ttl_s     How long it is kept, in seconds.
--
-- Returns whether the document was written.
local function requeue_result(key, document, ttl_s)
  if not may_requeue(status_of(redis.call('GET', key))) then return false end
  redis.call('SET', key, document, 'EX', ttl_s)
  return true
end
