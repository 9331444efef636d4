-- include: result_states
-- store_result(key, document, ttl_s, is_published): store the document of a job, unless a final or
-- a foreign one is there.
--
-- key           The job's document, and the channel on which it is published.
-- document      The document to store.
-- ttl_s         How long it is kept, in seconds.
-- is_published  Whether readers are notified. They are, once, if the document was stored.
--
-- Returns an error if Redis refused the document; nothing was written then. Else nil, the document
-- that is there now ('' in place of one that is not a string), and whether it is this one.
--
-- Every document of Celery and of sentq begins with its status; one that does not is compressed or
-- foreign, and stays. A final one is rarely found: to write first and put it back costs one
-- command for each of the others, and no reader can look in between.
local function store_result(key, document, ttl_s, is_published)
  local before = redis.pcall('SET', key, document, 'EX', ttl_s, 'GET')
  if type(before) == 'table' then
    -- Not a string, and not ours to replace; or refused, before anything was written.
    if not string.find(before.err, 'WRONGTYPE', 1, true) then return before end
    return nil, '', false
  elseif may_store(status_of(before)) then
    if is_published then redis.call('PUBLISH', key, document) end
    return nil, document, true
  end
  redis.call('SET', key, before, 'EX', ttl_s)
  return nil, before, false
end
