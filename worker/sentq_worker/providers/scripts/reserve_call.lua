-- Reserve one call to the Hub within the limits of the day and of the month, in UTC.
--
-- KEYS[1]  The budget: a hash of day, day_calls, day_chars, month, month_calls, month_chars.
-- ARGV[1]  The characters of the call.
-- ARGV[2]  The limit of calls a day; -1 for none.
-- ARGV[3]  The limit of characters a day; -1 for none.
-- ARGV[4]  The limit of calls a month; -1 for none.
-- ARGV[5]  The limit of characters a month; -1 for none.
--
-- Returns eight integers:
--   0, and has counted the call; or the seconds until the day or the month ends whose limit does
--   not permit the call, and nothing was counted
--   the time, in microseconds by Redis' clock
--   the seconds until the day ends, and until the month ends
--   the calls and the characters that were counted in this day, then those in this month
--
-- The month is computed from the day as in Howard Hinnant's `civil_from_days`.
local clock = redis.call('TIME')
local now_s = tonumber(clock[1])
local day = math.floor(now_s / 86400)
local z = day + 719468
local era = math.floor(z / 146097)
local doe = z - era * 146097
local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524)
  - math.floor(doe / 146096)) / 365)
local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
local mp = math.floor((5 * doy + 2) / 153)
local day_of_month = doy - math.floor((153 * mp + 2) / 5) + 1
local month_of_year = mp < 10 and mp + 3 or mp - 9
local year = yoe + era * 400 + (month_of_year <= 2 and 1 or 0)
local month = year * 12 + month_of_year
local lengths = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
if year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) then lengths[2] = 29 end

local counted = redis.call('HMGET', KEYS[1], 'day', 'day_calls', 'day_chars',
  'month', 'month_calls', 'month_chars')
for i = 1, 6 do counted[i] = tonumber(counted[i] or 0) end
if counted[1] ~= day then counted[2], counted[3] = 0, 0 end
if counted[4] ~= month then counted[5], counted[6] = 0, 0 end
local chars = tonumber(ARGV[1])
local spent = {counted[2] + 1, counted[3] + chars, counted[5] + 1, counted[6] + chars}
local day_rest_s = 86400 - now_s % 86400
local month_rest_s = day_rest_s + 86400 * (lengths[month_of_year] - day_of_month)
local wait_s = 0
for i = 1, 4 do
  local limit = tonumber(ARGV[i + 1])
  if limit >= 0 and spent[i] > limit then
    wait_s = math.max(wait_s, i > 2 and month_rest_s or day_rest_s)
  end
end
if wait_s == 0 then
  -- After 32 days without a call both the day and the month have ended. EXPIRE also comes first:
  -- after a write that needs no memory, Redis refuses nothing for want of it.
  redis.call('EXPIRE', KEYS[1], 32 * 86400)
  redis.call('HSET', KEYS[1], 'day', day, 'day_calls', spent[1], 'day_chars', spent[2],
    'month', month, 'month_calls', spent[3], 'month_chars', spent[4])
  redis.call('EXPIRE', KEYS[1], 32 * 86400)
else
  spent = {counted[2], counted[3], counted[5], counted[6]}
end
return {wait_s, now_s * 1000000 + clock[2], day_rest_s, month_rest_s, unpack(spent)}
