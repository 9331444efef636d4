-- include: requeue_result
-- Append the message of a dead letter to its queue, and remove the dead letter.
--
-- KEYS[1]  The stream of dead letters.
-- KEYS[2]  The queue's list.
-- KEYS[3]  The job's document; left out if the script shall not write it.
-- ARGV[1]  The id of the dead letter.
-- ARGV[2]  The message.
-- ARGV[3]  The document of a queued job.
-- ARGV[4]  How long it is kept, in seconds.
--
-- Returns 'retried'. Or 'ended' if the job has an outcome or was cancelled: the dead letter is
-- removed, and nothing else is done. Or 'not_found' if there is no such dead letter.
--
-- Repeated, it does nothing and returns 'not_found'.
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 'not_found' end
local result = 'ended'
if not KEYS[3] or requeue_result(KEYS[3], ARGV[3], ARGV[4]) then
  redis.call('LPUSH', KEYS[2], ARGV[2])
  result = 'retried'
end
redis.call('XDEL', KEYS[1], ARGV[1])
return result
