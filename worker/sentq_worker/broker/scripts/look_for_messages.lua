-- Look whether messages wait in queues, when the next scheduled job is due, and whether callbacks
-- of batches wait. Changes nothing.
--
-- KEYS[1]  The sorted set of scheduled jobs, by when they are due, in Unix milliseconds.
-- KEYS[2]  The sorted set of complete batches whose callback is not published.
-- KEYS[3]  The first list; then the others.
--
-- Returns {1 if a list has a message, else 0; in how many milliseconds the next job is due, 0 if it
-- is due now, -1 if none is scheduled; how many callbacks wait}. A list that cannot be read counts
-- as one with a message: the step that takes messages then finds out why.
local has_message = 0
for i = 3, #KEYS do
  if redis.pcall('LLEN', KEYS[i]) ~= 0 then
    has_message = 1
    break
  end
end
local due_ms, first = -1, redis.pcall('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if first[2] then
  local now = redis.call('TIME')
  due_ms = math.max(0, math.ceil(first[2] - now[1] * 1000 - now[2] / 1000))
end
local callbacks = redis.pcall('ZCOUNT', KEYS[2], '-inf', '+inf')
return {has_message, due_ms, type(callbacks) == 'number' and callbacks or 0}
