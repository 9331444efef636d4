"""The states of a job: what each means, and which documents may replace it.

This table is the only definition. Python reads it; `lua.py` generates the Lua functions that
scripts include as `result_states` from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sentq.contract import JobStatus

__all__ = ["ABSENT", "RESULT_STATES", "ResultState", "Transition", "result_states_lua"]


class Transition(StrEnum):
    """A replacement of a job's document by another one."""

    #: A worker stores that the job runs, or how it ended.
    STORE = "store"
    #: A client cancels the job.
    CANCEL = "cancel"
    #: An operator retries a dead letter: the job is queued again.
    REQUEUE = "requeue"


@dataclass(frozen=True, slots=True)
class ResultState:
    """What a status in a Celery result document means.

    Attributes:
        status: What the client reports.
        is_final: Whether the job has ended. Readers stop waiting, and its first outcome stays.
        transitions: Which transitions may replace a document with this status.
    """

    status: JobStatus
    is_final: bool
    transitions: frozenset[Transition]


def _state(status: JobStatus, *transitions: Transition, is_final: bool = False) -> ResultState:
    return ResultState(status, is_final, frozenset(transitions))


#: By Celery's status. A document with any other status is foreign: it means that the job runs,
#: and no transition replaces it.
RESULT_STATES: Final = {
    "PENDING": _state(JobStatus.QUEUED, *Transition),
    "RECEIVED": _state(JobStatus.QUEUED, *Transition),
    # A job that runs is not cancelled: its worker would score it all the same.
    "STARTED": _state(JobStatus.RUNNING, Transition.STORE, Transition.REQUEUE),
    "RETRY": _state(JobStatus.RUNNING, *Transition),
    "SUCCESS": _state(JobStatus.DONE, is_final=True),
    # The job of a dead letter has failed; its retry queues it again.
    "FAILURE": _state(JobStatus.FAILED, Transition.REQUEUE, is_final=True),
    "REVOKED": _state(JobStatus.CANCELLED, is_final=True),
}

#: A job without a document: it expired, or was sent together with others. There is nothing to
#: cancel.
ABSENT: Final = _state(JobStatus.UNKNOWN, Transition.STORE, Transition.REQUEUE)

#: Statuses of Celery are upper case, so these two cannot be mistaken for one in a document.
_LUA_STATUS_OF: Final = """\
-- Generated from the table in sentq/wire/states.py.
--
-- status_of(document): the status with which a document begins; 'absent' if there is no document,
-- 'foreign' if it begins with no status: it is compressed, or not a result document.
local function status_of(document)
  if not document then return 'absent' end
  return string.match(document, '^{"status": *"(%u+)"') or 'foreign'
end
"""

#: How the jobs of a batch are counted. `documents.status_of` tells the same of a document.
_LUA_END_STATE: Final = """\
-- end_state(document): return how a job is counted that ended with a document: 1 as done, 2 as
-- failed, 3 as cancelled. A job that expired has failed; so has one with a foreign document.
local function end_state(document)
  local status = status_of(document)
  if status == 'SUCCESS' then return 1 end
  return status == 'REVOKED' and not string.find(document, 'expired', 1, true) and 3 or 2
end
"""

_LUA_IS_FINAL: Final = """\
-- is_final(status): return whether a job with this status has ended.
"""


def result_states_lua() -> str:
    """Return the Lua functions `status_of(document)`, `end_state(document)`, `is_final(status)`
    and, for each transition, `may_<transition>(status)`."""
    final = [name for name, state in RESULT_STATES.items() if state.is_final]
    return "".join(
        [
            *(_LUA_STATUS_OF, _LUA_END_STATE, _LUA_IS_FINAL, _lua_predicate("is_final", final)),
            *(_lua_predicate(f"may_{each}", _statuses_before(each)) for each in Transition),
        ]
    )


def _statuses_before(transition: Transition) -> list[str]:
    states = {"absent": ABSENT, **RESULT_STATES}
    return [name for name, state in states.items() if transition in state.transitions]


def _lua_predicate(name: str, statuses: Sequence[str]) -> str:
    condition = " or ".join(f"status == '{status}'" for status in statuses)
    return f"local function {name}(status)\n  return {condition}\nend\n"
