-- include: store_result
-- include: batch_counts
-- include: push_callbacks
-- Store the documents of jobs, publish their callbacks, count jobs that belong to batches, and
-- acknowledge messages.
--
-- R is the number of documents, T that of messages, Q that of the queues of callbacks, and B that of
-- batches.
--
-- KEYS[1]      The document of the first job; R in all.
-- KEYS[R + 1]  The hash of unacknowledged messages; left out if nothing is to be acknowledged.
-- KEYS[R + 2]  Its index; likewise.
-- KEYS[#KEYS]  Batches that are complete and whose callback is not published; the hashes of the B
--              batches come before it. Left out if there are none.
-- ARGV[1]      R.
-- ARGV[2]      How long documents are kept, in seconds.
-- ARGV[3]      '0' not to notify readers of stored documents, '1' to notify them, '2' to store and
--              notify beyond `maxmemory` too.
-- ARGV[4]      T.
-- ARGV[5]      The first document; R in all.
-- ARGV[5 + R]  The tag of the first message to acknowledge; T in all.
-- ARGV[5 + R + T]  Q and B; both left out if both are 0. Then, of each queue of callbacks, its list,
--              how many callbacks it gets, and of each of these the number of its document, from 1,
--              and its message. Then, of each job in a batch, the number of its document, the number
--              of its batch, from 1, and its place in the batch.
--
-- Returns R. Or, if something is left to tell, {1 if batches are complete now whose callbacks are to
-- be published, else 0; how many callbacks of jobs Redis did not take}. Or an error if Redis refused
-- a document. Redis refuses the first or none, and nothing has been written or acknowledged then.
--
-- At `maxmemory` documents are stored beyond it if they and their callbacks need no more memory than
-- the messages that are acknowledged with them: to end jobs is what frees memory. After a write that
-- needs none, such as EXPIRE, Redis refuses nothing for want of it.
--
-- Repeated, it changes nothing: a final document stays, and neither it nor its callback is published
-- again.
local results, is_published = tonumber(ARGV[1]), ARGV[3] ~= '0'
local last_tag = 4 + results + ARGV[4]
-- The documents that are there now, and whether this step has stored them.
local kept, stored = #ARGV > last_tag and {}, {}
-- What Redis needs to keep a document, beside its bytes.
local DOCUMENT_OVERHEAD_BYTES = 200

local function may_exceed()
  if ARGV[3] ~= '1' then return ARGV[3] == '2' end
  local balance = -results * DOCUMENT_OVERHEAD_BYTES
  for i = 5, results + 4 do balance = balance - #ARGV[i] end
  for i = last_tag + 1, #ARGV do balance = balance - #ARGV[i] end
  for i = results + 5, last_tag do
    if balance >= 0 then break end
    balance = balance + #(redis.call('HGET', KEYS[results + 1], ARGV[i]) or '')
  end
  return balance >= 0
end

for i = 1, results do
  local refused, document, is_stored = store_result(KEYS[i], ARGV[i + 4], ARGV[2], is_published)
  if refused and may_exceed() then
    redis.call('EXPIRE', KEYS[i], ARGV[2])
    refused, document, is_stored = store_result(KEYS[i], ARGV[i + 4], ARGV[2], is_published)
  end
  if refused then return refused end
  if kept then kept[i], stored[i] = document, is_stored end
end
for first = results + 5, last_tag, 1000 do
  local last = math.min(first + 999, last_tag)
  redis.call('HDEL', KEYS[results + 1], unpack(ARGV, first, last))
  redis.call('ZREM', KEYS[results + 2], unpack(ARGV, first, last))
end
if kept then
  local next_argument, not_taken = last_tag + 3, 0
  for _ = 1, tonumber(ARGV[last_tag + 1]) do
    local list, count, messages = ARGV[next_argument], ARGV[next_argument + 1], {}
    for i = next_argument + 2, next_argument + 2 * count, 2 do
      if stored[tonumber(ARGV[i])] then messages[#messages + 1] = ARGV[i + 1] end
    end
    if not push_callbacks(list, messages) then not_taken = not_taken + #messages end
    next_argument = next_argument + 2 + 2 * count
  end
  local ends, batches = {}, tonumber(ARGV[last_tag + 2])
  for i = 1, batches do ends[i] = {} end
  for i = next_argument, #ARGV, 3 do
    local of_batch = ends[tonumber(ARGV[i + 1])]
    of_batch[#of_batch + 1] = {ARGV[i + 2], kept[tonumber(ARGV[i])]}
  end
  local has_callbacks = false
  for i = 1, batches do
    local batch = KEYS[#KEYS - 1 - batches + i]
    has_callbacks = count_ends(batch, KEYS[#KEYS], ARGV[2], ends[i]) or has_callbacks
  end
  if has_callbacks or not_taken > 0 then return {has_callbacks and 1 or 0, not_taken} end
end
return results
