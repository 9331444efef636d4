-- include: store_result
-- Store the documents of jobs, and acknowledge messages.
--
-- R is the number of documents.
--
-- KEYS[1]      The document of the first job; R in all.
-- KEYS[R + 1]  The hash of unacknowledged messages; left out if nothing is to be acknowledged.
-- KEYS[R + 2]  Its index; likewise.
-- ARGV[1]      R.
-- ARGV[2]      How long documents are kept, in seconds.
-- ARGV[3]      '1' to notify readers of stored documents, else '0'.
-- ARGV[4]      The first document; R in all.
-- ARGV[4 + R]  The tag of the first message to acknowledge; then the others.
--
-- Returns R; or an error if Redis refused a document. Redis refuses the first or none, and nothing
-- has been written or acknowledged then.
--
-- Repeated, it changes nothing: a final document stays, and is not published again.
local results = tonumber(ARGV[1])
for i = 1, results do
  local refused = store_result(KEYS[i], ARGV[i + 3], ARGV[2], ARGV[3] == '1')
  if refused then return refused end
end
for first = results + 4, #ARGV, 1000 do
  local last = math.min(first + 999, #ARGV)
  redis.call('HDEL', KEYS[results + 1], unpack(ARGV, first, last))
  redis.call('ZREM', KEYS[results + 2], unpack(ARGV, first, last))
end
return results
