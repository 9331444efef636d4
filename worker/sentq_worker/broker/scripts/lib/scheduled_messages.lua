-- The messages of scheduled jobs, in one step with their place in the order.
--
-- schedule  A sorted set: a name for each message, by when it is due, in Unix milliseconds.
-- messages  A hash: the name -> MessagePack of {list, queue, message}; '' -> the bytes of all.
-- name      The id of the job; no name is empty.
--
-- redis_ms(): return Redis' time in Unix milliseconds.
--
-- add_scheduled(schedule, messages, name, due_ms, value): record a message.
--
-- read_scheduled(messages, name): return {list, queue, message}; nil if there is no such message.
--
-- remove_scheduled(schedule, messages, name): remove a message.
--
-- scheduled_jobs(schedule): return how many there are.
--
-- scheduled_bytes(messages): return the bytes of all.
local function redis_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

local function scheduled_jobs(schedule)
  return redis.call('ZCOUNT', schedule, '-inf', '+inf')
end

local function scheduled_bytes(messages)
  return tonumber(redis.call('HGET', messages, '') or 0) or 0
end

local function add_scheduled(schedule, messages, name, due_ms, value)
  redis.call('ZADD', schedule, due_ms, name)
  redis.call('HSET', messages, name, value, '', scheduled_bytes(messages) + #value)
end

local function read_scheduled(messages, name)
  local is_read, found = pcall(cmsgpack.unpack, redis.call('HGET', messages, name) or '')
  if is_read and type(found) == 'table' and #found == 3 then return found end
end

local function remove_scheduled(schedule, messages, name)
  local bytes = scheduled_bytes(messages) - #(redis.call('HGET', messages, name) or '')
  redis.call('ZREM', schedule, name)
  redis.call('HDEL', messages, name)
  if scheduled_jobs(schedule) == 0 then
    redis.call('DEL', messages)
  else
    redis.call('HSET', messages, '', math.max(0, bytes))
  end
end
