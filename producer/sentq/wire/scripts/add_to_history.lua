-- Add counts to a slot of the history.
--
-- KEYS[1]  The slot: a hash of counts.
-- ARGV[1]  How long it is kept, in seconds.
-- ARGV[2]  A field, and in ARGV[3] how much is added to it; and so on.
--
-- Returns nothing.
for n = 2, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[n], ARGV[n + 1])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
