-- place_in_batch(sent, job_id, prefix): find a job in its batch.
--
-- sent    The document that made the job and those sent with it known; nil if it has expired.
--         For jobs of a batch it names the batch and the place of the first job.
-- job_id  The id of the job, a UUID.
-- prefix  What the keys of batches begin with.
--
-- Returns the key of the batch and the place; nothing if the job is in no batch. At most 8 KB are
-- searched: the ids of the jobs of one step of sending.
local function place_in_batch(sent, job_id, prefix)
  local batch, first = string.match(sent or '', '"sentq_batch": "([%x-]+):(%d+)"')
  if not batch then return end
  batch, first = prefix .. batch, tonumber(first)
  local wanted = string.gsub(string.gsub(job_id, '-', ''), '%x%x', function(pair)
    return string.char(tonumber(pair, 16))
  end)
  local ids = redis.pcall('GETRANGE', batch .. ':jobs', first * 16, (first + 512) * 16 - 1)
  for i = 1, type(ids) == 'string' and #ids - 15 or 0, 16 do
    if string.sub(ids, i, i + 15) == wanted then return batch, first + (i - 1) / 16 end
  end
end
