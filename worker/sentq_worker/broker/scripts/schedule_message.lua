-- include: scheduled_messages
-- Move an unacknowledged message to the scheduled ones, until its job is due.
--
-- KEYS[1]  The hash of unacknowledged messages: tag -> [message, "", queue].
-- KEYS[2]  Its index.
-- KEYS[3]  The sorted set of scheduled jobs.
-- KEYS[4]  The hash of their messages.
-- ARGV[1]  The tag of the message.
-- ARGV[2]  The id of its job.
-- ARGV[3]  When the job is due, in Unix milliseconds.
-- ARGV[4]  The list that the message returns to.
-- ARGV[5]  The queue of that list, as it is recorded.
-- ARGV[6]  The most scheduled jobs.
-- ARGV[7]  The most bytes of their messages.
--
-- Returns 'scheduled'; or, without a change, 'due' if the job is due, 'gone' if the message is no
-- longer recorded under its tag, 'too many jobs' or 'too many bytes' if a limit was reached.
-- Repeated, it returns 'gone', or 'due'.
--
-- Removes first: after that Redis refuses nothing for want of memory.
if tonumber(ARGV[3]) <= redis_ms() then return 'due' end
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry then return 'gone' end
local tail = ', "", ' .. cjson.encode(ARGV[5]) .. ']'
if string.sub(entry, -#tail) ~= tail then return 'gone' end
local value = cmsgpack.pack({ARGV[4], ARGV[5], string.sub(entry, 2, -#tail - 1)})
if scheduled_jobs(KEYS[3]) >= tonumber(ARGV[6]) then return 'too many jobs' end
if scheduled_bytes(KEYS[4]) + #value > tonumber(ARGV[7]) then return 'too many bytes' end
local name = ARGV[2]
if redis.call('ZSCORE', KEYS[3], name) then name = name .. ' ' .. ARGV[1] end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
add_scheduled(KEYS[3], KEYS[4], name, ARGV[3], value)
return 'scheduled'
