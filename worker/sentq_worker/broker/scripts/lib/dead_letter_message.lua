-- include: append_dead_letter
-- dead_letter_message(unacked, index, stream, tag, timeout_s, ttl_s, max_bytes, fields): move an
-- unacknowledged message to the dead letters.
--
-- unacked       The hash of unacknowledged messages.
-- index         Its index: a sorted set of tags, by the time of the last renewal.
-- stream        The stream of dead letters.
-- tag           The delivery tag of the message.
-- timeout_s     Move it only if its lease was not renewed for so many seconds; '' for any lease.
-- ttl_s         How long dead letters are kept, in seconds.
-- max_bytes     The most bytes of all dead letters.
-- fields        Names and values of the dead letter in turn.
--
-- Returns whether the message was moved: it was still recorded, and its lease had expired.
--
-- Removes first: after that Redis refuses nothing for want of memory.
local function dead_letter_message(unacked, index, stream, tag, timeout_s, ttl_s, max_bytes, fields)
  if timeout_s ~= '' then
    local now, score = redis.call('TIME'), redis.call('ZSCORE', index, tag)
    if not score or tonumber(score) > now[1] + now[2] / 1e6 - timeout_s then return false end
  end
  redis.call('ZREM', index, tag)
  if redis.call('HDEL', unacked, tag) == 0 then return false end
  append_dead_letter(stream, ttl_s, fields, max_bytes)
  return true
end
