-- Flag: no-writes
-- Read the codes of dead letters, without their messages.
--
-- KEYS[1]  The stream of dead letters.
-- ARGV[1]  Read those after this id; '0' reads from the first one.
-- ARGV[2]  How many to read at most.
-- ARGV[3]  Read no further one once those read have so many bytes.
--
-- Returns ids and codes in turn, the oldest first; '' for one that has no code.
local limit, limit_bytes = tonumber(ARGV[2]), tonumber(ARGV[3])
local found, bytes, after = {}, 0, ARGV[1]
while #found < 2 * limit and bytes < limit_bytes do
  local entries = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', 20)
  if #entries == 0 then break end
  for _, entry in ipairs(entries) do
    local code = ''
    for n = 1, #entry[2], 2 do
      if entry[2][n] == 'code' then code = entry[2][n + 1] end
      bytes = bytes + #entry[2][n + 1]
    end
    found[#found + 1] = entry[1]
    found[#found + 1] = code
    after = entry[1]
  end
end
return found
