-- Find out whether Redis refuses what needs memory.
--
-- KEYS[1]  A sorted set, or nothing. It stays as it is.
-- ARGV[1]  A member that it does not have.
--
-- Returns 1 if Redis is at its `maxmemory`, else 0.
local reply = redis.pcall('ZADD', KEYS[1], 'XX', 0, ARGV[1])
return type(reply) == 'table' and string.find(reply.err, 'maxmemory', 1, true) and 1 or 0
