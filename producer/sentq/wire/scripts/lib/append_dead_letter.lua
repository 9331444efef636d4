-- append_dead_letter(key, ttl_s, fields): add an entry to the stream of dead letters.
--
-- key     The stream.
-- ttl_s   The age in seconds at which dead letters are removed. About the newest 10,000 are kept.
-- fields  Names and values in turn, as `dead_letter_fields` returns them.
--
-- Returns the id of the entry.
local function append_dead_letter(key, ttl_s, fields)
  local id = redis.call('XADD', key, 'MAXLEN', '~', 10000, '*', unpack(fields))
  local oldest_ms = (redis.call('TIME')[1] - ttl_s) * 1000
  redis.call('XTRIM', key, 'MINID', string.format('%.0f', math.max(0, oldest_ms)))
  return id
end
