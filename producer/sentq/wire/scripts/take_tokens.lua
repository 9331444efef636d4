-- Take tokens from a bucket, to which as many come in a minute as it holds.
--
-- KEYS[1]  The bucket: a hash. One that does not exist is full.
-- ARGV[1]  How many tokens it holds.
-- ARGV[2]  How many to take. More than it holds are given if it is full, and are missing afterwards.
--
-- Returns {1, tokens left, milliseconds until it is full}. Or, without a change, {0, tokens there
-- are, milliseconds until there are enough}.
local most, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local per_ms = most / 60000
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at_ms')
local tokens = most
if kept[1] then
  -- A clock that was set back gives nothing, and takes nothing.
  local passed_ms = math.max(0, now_ms - tonumber(kept[2]))
  tokens = math.min(most, tonumber(kept[1]) + passed_ms * per_ms)
end
local needed = math.min(wanted, most)
if tokens < needed then
  return {0, math.floor(math.max(0, tokens)), math.ceil((needed - tokens) / per_ms)}
end
tokens = tokens - wanted
local full_ms = math.ceil((most - tokens) / per_ms)
if full_ms > 0 then
  redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', tokens), 'at_ms', now_ms)
  redis.call('PEXPIRE', KEYS[1], full_ms)
end
return {1, math.floor(math.max(0, tokens)), full_ms}
