-- include: dead_letter_message
-- Move an unacknowledged message to the dead letters.
--
-- KEYS[1]  The hash of unacknowledged messages.
-- KEYS[2]  Its index: a sorted set of tags, by the time of the last renewal.
-- KEYS[3]  The stream of dead letters.
-- ARGV[1]  The tag of the message.
-- ARGV[2]  Move it only if its lease was not renewed for so many seconds; '' to move it anyway.
-- ARGV[3]  How long dead letters are kept, in seconds.
-- ARGV[4]  The most bytes of all dead letters.
-- ARGV[5]  The name of the first field of the dead letter.
-- ARGV[6]  Its value; then names and values in turn.
--
-- Returns 1; or 0 if the message is no longer recorded or its lease has not expired. So a
-- repetition does nothing.
--
-- Removes first: after that Redis refuses nothing for want of memory.
local fields = {unpack(ARGV, 5)}
local is_moved = dead_letter_message(
  KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4], fields)
return is_moved and 1 or 0
