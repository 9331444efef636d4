-- include: push_callbacks
-- Publish the callback of a complete batch, unless another worker has done so.
--
-- KEYS[1]  The hash of the batch.
-- KEYS[2]  Batches that are complete and whose callback is not published: a sorted set.
-- ARGV[1]  The list of the callback's queue; left out if the callback is refused.
-- ARGV[2]  The message; likewise.
--
-- Returns 1 if it was published by this call; 0 if it was published before, or is refused; -1 if
-- Redis refused the push, because the queue is not a list or this user may not write there: then
-- it is refused. Repeated, it does nothing and returns 0.
--
-- The first ZREM removes nothing: after a removal Redis refuses nothing for want of memory. The
-- message is pushed before its batch is removed, so that an error loses none.
redis.call('ZREM', KEYS[2], '')
if not redis.call('ZSCORE', KEYS[2], KEYS[1]) then return 0 end
local state = redis.pcall('HGET', KEYS[1], 'callback_state')
local published = 0
if state == 'waiting' then
  if ARGV[1] then published = push_callbacks(ARGV[1], {ARGV[2]}) and 1 or -1 end
  redis.call('HSET', KEYS[1], 'callback_state', published == 1 and 'sent' or 'refused')
end
redis.call('ZREM', KEYS[2], KEYS[1])
return published
