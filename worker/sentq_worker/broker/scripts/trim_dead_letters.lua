-- include: trim_dead_letters
-- Remove dead letters that are too old, and the oldest ones while they have too many bytes.
--
-- KEYS[1]  The stream of dead letters.
-- ARGV[1]  How long dead letters are kept, in seconds.
-- ARGV[2]  The most bytes of all.
--
-- Returns how many were removed. Repeated, it does nothing.
local before = redis.call('XLEN', KEYS[1])
if before == 0 then return 0 end
trim_dead_letters(KEYS[1], ARGV[1], ARGV[2])
return before - redis.call('XLEN', KEYS[1])
