-- Make the jobs of a send group known, and append their messages to the queue.
--
-- KEYS[1]  The queue's list.
-- KEYS[2]  The document that makes the jobs known.
-- ARGV[1]  How long the document is kept, in seconds.
-- ARGV[2]  The document.
-- ARGV[3]  The first message; then the others.
--
-- Returns nothing.
--
-- All or nothing: if memory is short, Redis refuses the SET, and nothing has been written. After
-- the first write it refuses nothing for want of memory.
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[1], 'NX')
redis.call('LPUSH', KEYS[1], unpack(ARGV, 3))
