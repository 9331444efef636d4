-- exceeded_limits(lists, max_jobs, max_bytes, jobs, size_bytes): compare what waits in a queue, and
-- what is to be added, with the limits of the queue.
--
-- lists       All lists of the queue.
-- max_jobs    How many jobs may wait in all lists; -1 for no limit.
-- max_bytes   How many bytes may wait in all lists; -1 for no limit.
-- jobs        How many jobs are to be added.
-- size_bytes  How many bytes their messages have.
--
-- Returns {0, jobs waiting, bytes waiting, jobs to add, bytes to add} if these would exceed a limit;
-- else nil.
local function exceeded_limits(lists, max_jobs, max_bytes, jobs, size_bytes)
  local waiting_jobs, waiting_bytes = 0, 0
  for _, list in ipairs(lists) do
    waiting_jobs = waiting_jobs + redis.call('LLEN', list)
    if max_bytes >= 0 then
      waiting_bytes = waiting_bytes + (redis.call('MEMORY', 'USAGE', list, 'SAMPLES', 5) or 0)
    end
  end
  local exceeds_jobs = max_jobs >= 0 and waiting_jobs + jobs > max_jobs
  local exceeds_bytes = max_bytes >= 0 and waiting_bytes + size_bytes > max_bytes
  if exceeds_jobs or exceeds_bytes then
    return {0, waiting_jobs, waiting_bytes, jobs, size_bytes}
  end
end
