-- key_record(id, digests): the record of an idempotency key, and functions that read one.
--
-- id       The id of the job.
-- digests  Digests of the job's texts, separated by spaces; after a '|' further ones that the sender
--          accepts in a record, and does not write.
--
-- Returns the record of a job that was sent: the id, and the digests, each after a space. Records of
-- older clients have no digest.
--
-- key_reservation(id, digests)     returns the record of a job that is being sent: with a '?' before.
-- is_reserved(record)              returns whether the job of a record is being sent.
-- recorded_id(record)              returns the id in a record.
-- has_same_texts(record, digests)  returns whether the job of a record has the sender's texts: they
--                                  have a digest in common, or the record has none to compare.
--                                  Neither has more than 8 KiB.
local function key_record(id, digests)
  return id .. ' ' .. string.match(digests, '^[^|]*')
end

local function key_reservation(id, digests)
  return '?' .. key_record(id, digests)
end

local function is_reserved(record)
  return string.sub(record, 1, 1) == '?'
end

local function recorded_id(record)
  return string.match(record, '^%S*')
end

local function has_same_texts(record, digests)
  -- A hostile sender writes both. To compare large ones would take the product of their sizes.
  if #record > 8192 or #digests > 8192 then return false end
  local recorded = string.match(record, ' (.+)$')
  if not recorded then return true end
  for digest in string.gmatch(recorded, '%x+') do
    if string.find(digests, digest, 1, true) then return true end
  end
  return false
end
