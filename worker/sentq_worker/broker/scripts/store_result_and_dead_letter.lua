-- include: store_result
-- include: dead_letter_message
-- include: batch_counts
-- include: push_callbacks
-- Move an unacknowledged message to the dead letters, store how its job ended, publish its callback
-- if it has one, and count the job if it belongs to a batch.
--
-- KEYS[1]  The hash of unacknowledged messages.
-- KEYS[2]  Its index: a sorted set of tags, by the time of the last renewal.
-- KEYS[3]  The stream of dead letters.
-- KEYS[4]  The job's document, and the channel on which it is published.
-- KEYS[5]  The hash of its batch; left out if it belongs to none.
-- KEYS[6]  Batches that are complete and whose callback is not published; likewise.
-- ARGV[1]  The document of the job.
-- ARGV[2]  How long it is kept, in seconds.
-- ARGV[3]  The tag of the message.
-- ARGV[4]  Move it only if its lease was not renewed for so many seconds; '' to move it anyway.
-- ARGV[5]  How long dead letters are kept, in seconds.
-- ARGV[6]  The most bytes of all dead letters.
-- ARGV[7]  The place of the job in its batch; '' if it belongs to none.
-- ARGV[8]  The list of the queue of its callback; '' if it has none.
-- ARGV[9]  The message of its callback; likewise.
-- ARGV[10] The name of the first field of the dead letter.
-- ARGV[11] Its value; then names and values in turn.
--
-- Returns 1. Or, if something is left to tell, {1 if the batch is complete now and its callback is to
-- be published, else 0; how many callbacks of the job Redis did not take}. Or 0 if the message is no
-- longer recorded or its lease has not expired, and nothing was stored. So a repetition does nothing.
--
-- Removes first: after that Redis refuses nothing for want of memory.
local fields = {unpack(ARGV, 10)}
local is_moved = dead_letter_message(
  KEYS[1], KEYS[2], KEYS[3], ARGV[3], ARGV[4], ARGV[5], ARGV[6], fields)
if not is_moved then return 0 end
local _, document, is_stored = store_result(KEYS[4], ARGV[1], ARGV[2], true)
local is_lost = is_stored and ARGV[8] ~= '' and not push_callbacks(ARGV[8], {ARGV[9]})
local ends = {{ARGV[7], document or ''}}
local has_callback = KEYS[5] and count_ends(KEYS[5], KEYS[6], ARGV[2], ends)
if has_callback or is_lost then return {has_callback and 1 or 0, is_lost and 1 or 0} end
return 1
