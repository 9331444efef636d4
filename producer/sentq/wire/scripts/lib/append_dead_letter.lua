-- include: trim_dead_letters
-- append_dead_letter(key, ttl_s, fields, max_bytes): add an entry to the stream of dead letters.
--
-- key        The stream.
-- ttl_s      The age in seconds at which dead letters are removed. About the newest 10,000 are kept.
-- fields     Names and values in turn, as `dead_letter_fields` returns them.
-- max_bytes  The most bytes of the stream; nil leaves the oldest entries to the workers' ticks.
--
-- Returns the id of the entry.
--
-- To measure a full stream of 64 MiB takes a millisecond, so it is measured with each large entry,
-- and with one of 32 others. The stream expires with its newest entry, also without any worker.
local function append_dead_letter(key, ttl_s, fields, max_bytes)
  local id = redis.call('XADD', key, 'MAXLEN', '~', 10000, '*', unpack(fields))
  redis.call('EXPIRE', key, ttl_s)
  local size_bytes = 0
  for _, field in ipairs(fields) do size_bytes = size_bytes + #tostring(field) end
  local is_measured = size_bytes >= 65536 or redis.call('XLEN', key) % 32 == 0
  trim_dead_letters(key, ttl_s, is_measured and max_bytes or nil)
  return id
end
