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
-- ARGV[3]      '0' not to notify readers of stored documents, '1' to notify them, '2' to store and
--              notify beyond `maxmemory` too.
-- ARGV[4]      The first document; R in all.
-- ARGV[4 + R]  The tag of the first message to acknowledge; then the others.
--
-- Returns R; or an error if Redis refused a document. Redis refuses the first or none, and nothing
-- has been written or acknowledged then.
--
-- At `maxmemory` documents are stored beyond it if they need no more memory than the messages that
-- are acknowledged with them: to end jobs is what frees memory. After a write that needs none, such
-- as EXPIRE, Redis refuses nothing for want of it.
--
-- Repeated, it changes nothing: a final document stays, and is not published again.
local results, is_published = tonumber(ARGV[1]), ARGV[3] ~= '0'
-- What Redis needs to keep a document, beside its bytes.
local DOCUMENT_OVERHEAD_BYTES = 200

local function may_exceed()
  if ARGV[3] ~= '1' then return ARGV[3] == '2' end
  local balance = -results * DOCUMENT_OVERHEAD_BYTES
  for i = 4, results + 3 do balance = balance - #ARGV[i] end
  for i = results + 4, #ARGV do
    if balance >= 0 then break end
    balance = balance + #(redis.call('HGET', KEYS[results + 1], ARGV[i]) or '')
  end
  return balance >= 0
end

for i = 1, results do
  local refused = store_result(KEYS[i], ARGV[i + 3], ARGV[2], is_published)
  if refused and may_exceed() then
    redis.call('EXPIRE', KEYS[i], ARGV[2])
    refused = store_result(KEYS[i], ARGV[i + 3], ARGV[2], is_published)
  end
  if refused then return refused end
end
for first = results + 4, #ARGV, 1000 do
  local last = math.min(first + 999, #ARGV)
  redis.call('HDEL', KEYS[results + 1], unpack(ARGV, first, last))
  redis.call('ZREM', KEYS[results + 2], unpack(ARGV, first, last))
end
return results
