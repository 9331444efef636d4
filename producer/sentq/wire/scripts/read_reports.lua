-- Flag: no-writes
-- Read the reports of all workers in the index.
--
-- KEYS[1]  The index of reports.
-- ARGV[1]  What the keys of reports begin with.
--
-- Returns the reports, nil for one that has expired; an empty list if the index is empty.
local keys = redis.call('ZRANGE', KEYS[1], 0, -1)
for i = 1, #keys do keys[i] = ARGV[1] .. keys[i] end
return #keys > 0 and redis.call('MGET', unpack(keys)) or {}
