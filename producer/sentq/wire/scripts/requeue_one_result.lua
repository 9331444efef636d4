-- include: requeue_result
-- Write that a job is queued again, where results and messages are not in one Redis.
--
-- KEYS[1]  The job's document.
-- ARGV[1]  The document of a queued job.
-- ARGV[2]  How long it is kept, in seconds.
--
-- Returns 1 if the document was written; 0 if the job has an outcome, was cancelled, or its
-- document is foreign.
return requeue_result(KEYS[1], ARGV[1], ARGV[2]) and 1 or 0
