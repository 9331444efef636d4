-- push_callbacks(list, messages): publish callbacks of one queue.
--
-- list      The list of the queue. It is no key of the script: Redis would refuse the whole script to
--           a worker that may not write there. A sender names the queue, so it may be no list either.
-- messages  Their messages, in a list.
--
-- Returns whether Redis took them: all or none, but for more than a thousand.
local function push_callbacks(list, messages)
  for first = 1, #messages, 1000 do
    local last = math.min(first + 999, #messages)
    local pushed = redis.pcall('LPUSH', list, unpack(messages, first, last))
    if type(pushed) ~= 'number' then return false end
  end
  return true
end
