"""One step of sending, where jobs and outcomes lie in one Redis: all of it or none.

A plain step makes the jobs known and pushes their messages. A careful one looks first whether
there is room, and whether a job was sent before under the same key; still in one script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sentq.connection.broker import queue_lists
from sentq.results.reader import ResultReader
from sentq.sending.idempotency import key_of
from sentq.sending.limits import QueueLimitExceeded, QueueLimits, QueueUsage
from sentq.wire.documents import QUEUED_DOCUMENT

__all__ = ["SendGroup", "push"]

#: KEYS: the queue, and what makes the jobs known. ARGV: TTL in seconds, its value, messages.
#: Where memory is short, SET is refused and nothing has been done.
_PLAIN: Final = """
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[1], 'NX')
redis.call('LPUSH', KEYS[1], unpack(ARGV, 3))
"""

#: KEYS: the queue, what makes the jobs known, the queue's other lists, then a key for each job.
#: ARGV: TTL in seconds, its value, jobs and bytes that may wait or -1, how many other lists, how
#: many keys, an id for each key, then messages.
#: Returns 1, then the ids of the jobs that have the keys; or 0, then what waits, and what was
#: to be added.
_CAREFUL: Final = """
local max_jobs, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local lists, keyed = tonumber(ARGV[5]), tonumber(ARGV[6])
local ids, fresh, taken, size = {1}, {}, {}, 0
for i = 1, #ARGV - 6 - keyed do
  local key, id = KEYS[2 + lists + i], ARGV[6 + i]
  local known = keyed > 0 and (taken[key] or redis.call('GET', key))
  if not known then
    local message = ARGV[6 + keyed + i]
    fresh[#fresh + 1] = message
    size = size + #message
    if keyed > 0 then taken[key] = id end
  end
  if keyed > 0 then ids[i + 1] = known or id end
end
if #fresh == 0 then return ids end
local jobs, bytes = 0, 0
for i = 1, lists + 1 do
  local list = i == 1 and KEYS[1] or KEYS[i + 1]
  jobs = jobs + redis.call('LLEN', list)
  if max_bytes >= 0 then
    bytes = bytes + (redis.call('MEMORY', 'USAGE', list, 'SAMPLES', 5) or 0)
  end
end
if max_jobs >= 0 and jobs + #fresh > max_jobs or max_bytes >= 0 and bytes + size > max_bytes then
  return {0, jobs, bytes, #fresh, size}
end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[1], 'NX')
for key, id in pairs(taken) do redis.call('SET', key, id, 'EX', ARGV[1]) end
redis.call('LPUSH', KEYS[1], unpack(fresh))
return ids
"""


@dataclass(frozen=True, slots=True)
class SendGroup:
    """Jobs that are sent together: their ids, their messages, and the keys of those that have
    some: of all, or of none."""

    ids: list[str]
    messages: list[bytes]
    keys: Sequence[str]


def push(results: ResultReader, step: SendGroup, queue: str, limits: QueueLimits) -> list[str]:
    """Send the jobs of a step; return their ids, or of those that were sent before under the
    same keys.

    Raises:
        NoRoom: None was sent.
        ResultsUnavailable: Redis did not answer, or refused.
    """
    keys: list[str | bytes] = [queue, results.queued_key(step.ids)]
    arguments: list[int | str | bytes] = [results.ttl_s, QUEUED_DOCUMENT]
    if not limits and not step.keys:
        results.run_script(_PLAIN, keys, [*arguments, *step.messages])
        return step.ids
    lists = queue_lists(queue)[1:] if limits else []
    arguments += [-1 if limit is None else limit for limit in (limits.jobs, limits.bytes)]
    arguments += [len(lists), len(step.keys), *(step.ids if step.keys else ()), *step.messages]
    reply: list[Any] = results.run_script(
        _CAREFUL, [*keys, *lists, *map(key_of, step.keys)], arguments
    )
    if not reply[0]:
        waiting_jobs, waiting_bytes, added_jobs, added_bytes = reply[1:]
        raise QueueLimitExceeded(
            QueueUsage(waiting_jobs, waiting_bytes), QueueUsage(added_jobs, added_bytes)
        )
    return [known.decode() for known in reply[1:]] if step.keys else step.ids
