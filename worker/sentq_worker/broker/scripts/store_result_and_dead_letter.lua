-- include: store_result
-- include: dead_letter_message
-- Move an unacknowledged message to the dead letters, and store how its job ended.
--
-- KEYS[1]  The hash of unacknowledged messages.
-- KEYS[2]  Its index: a sorted set of tags, by the time of the last renewal.
-- KEYS[3]  The stream of dead letters.
-- KEYS[4]  The job's document, and the channel on which it is published.
-- ARGV[1]  The document of the job.
-- ARGV[2]  How long it is kept, in seconds.
-- ARGV[3]  The tag of the message.
-- ARGV[4]  Move it only if its lease was not renewed for so many seconds; '' to move it anyway.
-- ARGV[5]  How long dead letters are kept, in seconds.
-- ARGV[6]  The most bytes of all dead letters.
-- ARGV[7]  The name of the first field of the dead letter.
-- ARGV[8]  Its value; then names and values in turn.
--
-- Returns 1; or 0 if the message is no longer recorded or its lease has not expired, and nothing
-- was stored. So a repetition does nothing.
--
-- Removes first: after that Redis refuses nothing for want of memory.
local fields = {unpack(ARGV, 7)}
local is_moved = dead_letter_message(
  KEYS[1], KEYS[2], KEYS[3], ARGV[3], ARGV[4], ARGV[5], ARGV[6], fields)
if not is_moved then return 0 end
store_result(KEYS[4], ARGV[1], ARGV[2], true)
return 1
