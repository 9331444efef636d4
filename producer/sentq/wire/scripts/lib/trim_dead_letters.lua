-- trim_dead_letters(key, ttl_s, max_bytes): remove dead letters that are too old, and the oldest
-- ones while the stream has too many bytes.
--
-- key        The stream.
-- ttl_s      The age in seconds at which dead letters are removed.
-- max_bytes  The most bytes; nil for no limit. The newest entry stays, even if it is larger.
--
-- Returns nothing.
--
-- Bytes are those that Redis counts itself (MEMORY USAGE of all nodes): a running sum in a key of
-- its own would miss what XDEL and MAXLEN remove. A tenth at least is removed at a time, so that a
-- full stream is not measured again for each new entry.
local function trim_dead_letters(key, ttl_s, max_bytes)
  local oldest_ms = (redis.call('TIME')[1] - ttl_s) * 1000
  redis.call('XTRIM', key, 'MINID', string.format('%.0f', math.max(0, oldest_ms)))
  if not max_bytes then return end
  max_bytes = tonumber(max_bytes)
  local length = redis.call('XLEN', key)
  while length > 1 do
    local used = redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0)
    if used <= max_bytes then return end
    length = math.max(1, math.floor(length * math.min(0.9, max_bytes / used)))
    redis.call('XTRIM', key, 'MAXLEN', length)
  end
end
