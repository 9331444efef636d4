-- include: append_dead_letter
-- include: batch_counts
-- Take messages from queues, and record them as unacknowledged. Messages that are too large become
-- dead letters here: they never reach a worker's memory.
--
-- KEYS[1]  The hash of unacknowledged messages: tag -> [message, "", queue].
-- KEYS[2]  Its index: a sorted set of tags, by Redis' time in Unix seconds.
-- KEYS[3]  The stream of dead letters.
-- KEYS[4]  The first list to read; then the others, in the order in which they are read.
-- ARGV[1]  What the tags of these messages begin with; a number from 0 follows.
-- ARGV[2]  How many messages to take at most.
-- ARGV[3]  Take no further message once those taken have so many bytes.
-- ARGV[4]  The most bytes of a message.
-- ARGV[5]  How long dead letters are kept, in seconds.
-- ARGV[6]  The most bytes of all dead letters.
-- ARGV[7]  The name of the worker.
-- ARGV[8]  How long batches are kept, in seconds; '' if they are not in this Redis.
-- ARGV[9]  The queue of the first list; then those of the others.
--
-- Returns {the messages of each list, too large ones}; if there was none of either, an empty list,
-- or 0 if Redis has no free memory, so that it refuses to wait for messages (BLMOVE).
-- Of each list the oldest message is first, and a list without messages is an empty one. Tags count
-- on from one list to the next. Of a message that was too large: its queue, size, the id of its job,
-- or '', and its place in a batch as the header has it, or ''. The id is Celery's `correlation_id`,
-- which stands near the end, as the headers do. In its batch it is counted here.
--
-- Takes messages also at `maxmemory`: what is taken is bounded, and jobs that end are what frees
-- memory. Redis refuses the first write then; after one that needs no memory it refuses none.
-- Records before it removes: if a write is refused for another reason, nothing has moved.
-- What is read ahead grows with what was read, since a message may be large.
local KEPT_HEAD, KEPT_TAIL, MOST_REFUSED = 1024, 3072, 16
local limit, limit_bytes, max_bytes = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = redis.call('TIME')
local score = string.format('%d.%06d', now[1], now[2])
local taken, refused, count, bytes = {}, {}, 0, 0

local function refuse_nothing_more()
  redis.call('ZREM', KEYS[2], '')
end

local function refuse(message, queue)
  refuse_nothing_more()
  local tail = string.sub(message, -KEPT_TAIL)
  local job_id = string.match(tail, '.*"correlation_id": ?"([%w_.:-]+)"') or ''
  local fields = {
    'code', 'malformed',
    'reason', 'the message is too large: ' .. #message .. ' bytes; the limit is ' .. ARGV[4],
    'deliveries', '1', 'worker', ARGV[7], 'queue', queue, 'size_bytes', #message,
    'message', string.sub(message, 1, KEPT_HEAD) .. '\n...\n' .. tail}
  if job_id ~= '' then
    fields[#fields + 1] = 'job_id'
    fields[#fields + 1] = job_id
  end
  append_dead_letter(KEYS[3], ARGV[5], fields, ARGV[6])
  local place = string.match(tail, '"sentq_batch": ?"([%x:-]+)"') or ''
  local batch, number = string.match(place, '^(.+):(%d+)$')
  if batch and ARGV[8] ~= '' then
    -- As failed, since there is no document yet: the worker may end before it stores one.
    count_ends('sentq-batch-' .. batch, 'sentq.batches', ARGV[8], {{number, ''}})
  end
  refused[#refused + 1] = {queue, #message, job_id, place}
end

for i = 4, #KEYS do
  local queue = ARGV[i + 5]
  local messages, tail = {}, ', "", ' .. cjson.encode(queue) .. ']'
  repeat
    local wanted = math.min(64, limit - count, 1 + 3 * count)
    if wanted < 1 or #refused >= MOST_REFUSED or (count > 0 and bytes >= limit_bytes) then break end
    local found = redis.call('LRANGE', KEYS[i], -wanted, -1)
    local entries, scores, removed = {}, {}, 0
    for j = #found, 1, -1 do
      if #refused >= MOST_REFUSED or (count > 0 and bytes >= limit_bytes) then break end
      if #found[j] > max_bytes then
        refuse(found[j], queue)
      else
        local tag = ARGV[1] .. count
        entries[#entries + 1] = tag
        entries[#entries + 1] = '[' .. found[j] .. tail
        scores[#scores + 1] = score
        scores[#scores + 1] = tag
        messages[#messages + 1] = found[j]
        count, bytes = count + 1, bytes + #found[j]
      end
      removed = removed + 1
    end
    if #entries > 0 then
      if type(redis.pcall('HSET', KEYS[1], unpack(entries))) == 'table' then
        refuse_nothing_more()
        redis.call('HSET', KEYS[1], unpack(entries))
      end
      redis.call('ZADD', KEYS[2], unpack(scores))
    end
    if removed > 0 then redis.call('LTRIM', KEYS[i], 0, -removed - 1) end
  until #found < wanted
  taken[#taken + 1] = messages
end
if count > 0 or #refused > 0 then return {taken, refused} end
-- Changes nothing; Redis refuses it if BLMOVE would be refused.
local probe = redis.pcall('ZADD', KEYS[2], 'XX', 0, '')
return type(probe) == 'table' and string.find(probe.err, 'maxmemory', 1, true) and 0 or {}
