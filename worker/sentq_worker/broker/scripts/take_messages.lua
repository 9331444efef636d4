-- Take messages from queues, and record them as unacknowledged.
--
-- KEYS[1]  The hash of unacknowledged messages: tag -> [message, "", queue].
-- KEYS[2]  Its index: a sorted set of tags, by Redis' time in Unix seconds.
-- KEYS[3]  The first list to read; then the others, in the order in which they are read.
-- ARGV[1]  What the tags of these messages begin with; a number from 0 follows.
-- ARGV[2]  How many messages to take at most.
-- ARGV[3]  Take no further message once those taken have so many bytes.
-- ARGV[4]  The queue of the first list; then those of the others.
--
-- Returns the messages of each list, the oldest first; an empty list if there were none. Their
-- tags count on from one list to the next.
--
-- Records before it removes: if memory is short, Redis refuses the HSET, and nothing has moved.
-- What is read ahead grows with what was read, since a message may be large.
local limit, limit_bytes = tonumber(ARGV[2]), tonumber(ARGV[3])
local now = redis.call('TIME')
local score = string.format('%d.%06d', now[1], now[2])
local taken, count, bytes = {}, 0, 0
for i = 3, #KEYS do
  local messages, tail = {}, ', "", ' .. cjson.encode(ARGV[i + 1]) .. ']'
  repeat
    local wanted = math.min(64, limit - count, 1 + 3 * count)
    if wanted < 1 or (count > 0 and bytes >= limit_bytes) then break end
    local found = redis.call('LRANGE', KEYS[i], -wanted, -1)
    local entries, scores, removed = {}, {}, 0
    for j = #found, 1, -1 do
      if count > 0 and bytes >= limit_bytes then break end
      local tag = ARGV[1] .. count
      entries[#entries + 1] = tag
      entries[#entries + 1] = '[' .. found[j] .. tail
      scores[#scores + 1] = score
      scores[#scores + 1] = tag
      messages[#messages + 1] = found[j]
      count, bytes, removed = count + 1, bytes + #found[j], removed + 1
    end
    if removed > 0 then
      redis.call('HSET', KEYS[1], unpack(entries))
      redis.call('ZADD', KEYS[2], unpack(scores))
      redis.call('LTRIM', KEYS[i], 0, -removed - 1)
    end
  until #found < wanted
  taken[#taken + 1] = messages
end
return count > 0 and taken or {}
