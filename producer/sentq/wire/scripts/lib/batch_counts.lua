-- include: result_states
-- The counts of a batch, in one step with what they count.
--
-- batch             The hash of the batch. Its other keys begin with its name: `:jobs`, the ids of its
--                   jobs by place, 16 bytes each; `:states`, how each of them ended, 2 bits each;
--                   `:ends`, the places in the order in which their jobs ended, 4 bytes each.
-- batches           Batches that are complete and whose callback is not published: a sorted set.
-- ttl_s             How long the batch is kept after this step, in seconds.
--
-- batch_jobs(batch): return how many jobs the batch has; nil if there is no such batch.
--
-- keep_batch(batch, ttl_s): keep the batch for so long from now on.
--
-- complete_batch(batch, batches, ttl_s): if the batch is closed and all of its jobs have ended, record
-- that it is complete, once, and that its callback is to be published. Return whether a callback is
-- to be published now.
--
-- count_ends(batch, batches, ttl_s, ends): count jobs that have ended, each a {place, document} in
-- the list `ends`. The document is the final one of the job. Each job is counted once, also if a
-- step is repeated: under its first end, and under another one if an operator has retried it since.
-- Return what `complete_batch` returns.
--
-- A sender may write anything into these keys. So no command here raises an error, because what a
-- worker stores for other jobs in the same step must not fail; and places are bounded, because
-- Redis would allocate memory up to the place.
local MOST_JOBS, STATES = 1000000, {'done', 'failed', 'cancelled'}

local function batch_jobs(batch)
  local total = redis.pcall('HGET', batch, 'total')
  return type(total) == 'string' and math.min(tonumber(total) or 0, MOST_JOBS) or nil
end

local function keep_batch(batch, ttl_s)
  for _, part in ipairs({'', ':jobs', ':states', ':ends'}) do
    redis.pcall('EXPIRE', batch .. part, ttl_s)
  end
end

local function complete_batch(batch, batches, ttl_s)
  local found = redis.pcall(
    'HMGET', batch, 'closed', 'complete_ms', 'total', 'callback', unpack(STATES))
  if found.err or not found[1] or found[2] then return false end
  local ended = 0
  for i = 5, 7 do ended = ended + (tonumber(found[i] or 0) or 0) end
  if ended < (tonumber(found[3] or 0) or 0) then return false end
  local now = redis.call('TIME')
  redis.pcall('HSET', batch, 'complete_ms', now[1] * 1000 + math.floor(now[2] / 1000))
  if found[4] then
    redis.pcall('HSET', batch, 'callback_state', 'waiting')
    redis.pcall('ZADD', batches, now[1], batch)
    redis.pcall('EXPIRE', batches, ttl_s)
  end
  return found[4] and true or false
end

local function count_ends(batch, batches, ttl_s, ends)
  local total = batch_jobs(batch)
  if not total then return false end
  local first_ends, added = {}, {0, 0, 0}
  for _, each in ipairs(ends) do
    local place, state = tonumber(each[1]), end_state(each[2])
    if place and place >= 0 and place < total then
      local before = redis.pcall('BITFIELD', batch .. ':states', 'SET', 'u2', '#' .. place, state)
      if before.err then return false end
      if before[1] == 0 then first_ends[#first_ends + 1] = struct.pack('>I4', place) end
      if before[1] > 0 then added[before[1]] = added[before[1]] - 1 end
      added[state] = added[state] + 1
    end
  end
  for state, count in ipairs(added) do
    if count ~= 0 then redis.pcall('HINCRBY', batch, STATES[state], count) end
  end
  if #first_ends > 0 then redis.pcall('APPEND', batch .. ':ends', table.concat(first_ends)) end
  keep_batch(batch, ttl_s)
  local has_callback = complete_batch(batch, batches, ttl_s)
  redis.pcall('PUBLISH', batch, #first_ends)
  return has_callback
end
