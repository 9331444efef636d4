"""The states of documents, as scripts see them: the Python side of `wire.states`."""

from __future__ import annotations

import re
from typing import Final

from sentq.wire.states import ABSENT, RESULT_STATES, ResultState, Transition

__all__ = ["end_state", "is_final", "may"]

_STATUS: Final = re.compile(rb'\{"status": *"([A-Z]+)"')

_DONE, _FAILED, _CANCELLED = 1, 2, 3


def may(transition: Transition, document: bytes | None) -> bool:
    """Return whether this transition may replace a document; None stands for no document."""
    state = ABSENT if document is None else _state_of(document)
    return state is not None and transition in state.transitions


def is_final(document: bytes | None) -> bool:
    """Return whether the job of a document has ended."""
    state = None if document is None else _state_of(document)
    return state is not None and state.is_final


def end_state(document: bytes | None) -> int:
    """Return how a batch counts a job that ended with a document: 1 as done, 2 as failed, 3 as
    cancelled."""
    status = _status_of(document or b"")
    if status == "SUCCESS":
        return _DONE
    return _CANCELLED if status == "REVOKED" and b"expired" not in (document or b"") else _FAILED


def _state_of(document: bytes) -> ResultState | None:
    return RESULT_STATES.get(_status_of(document) or "")


def _status_of(document: bytes) -> str | None:
    match = _STATUS.match(document)
    return match[1].decode() if match else None
