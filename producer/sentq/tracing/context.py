"""The headers of a message that say in which trace it was sent: W3C Trace Context, level 1.

    traceparent: 00-<trace id>-<span id>-<flags>        all in lower-case hexadecimal digits
    tracestate:  <what tracing systems add, up to 512 characters>

Stock Celery with `CeleryInstrumentor` writes and reads the same ones. A sender may write anything
into them, so only what has this form is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["TRACEPARENT", "TRACESTATE", "TraceContext", "trace_context_in"]

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

_SAMPLED: Final = 0x01
_MAX_STATE_CHARS: Final = 512
_MAX_MEMBERS: Final = 32
_FORM: Final = re.compile(
    "(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
)
_MEMBER_FORM: Final = re.compile(
    r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


class TraceContext(NamedTuple):
    """The span in which a message was sent.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        is_sampled: Whether the sender records the span.
        state: The header `tracestate`; empty if it is missing or invalid.
    """

    trace_id: str
    span_id: str
    is_sampled: bool
    state: str = ""


def trace_context_in(headers: Mapping[str, object]) -> TraceContext | None:
    """Return the span that the headers of a message name; None if they name none in this form."""
    parent = headers.get(TRACEPARENT)
    found = _FORM.fullmatch(parent) if isinstance(parent, str) else None
    if found is None:
        return None
    trace_id, span_id, flags = found.groups()
    is_sampled = bool(int(flags, 16) & _SAMPLED)
    return TraceContext(trace_id, span_id, is_sampled, _state_in(headers))


def _state_in(headers: Mapping[str, object]) -> str:
    state = headers.get(TRACESTATE)
    if not isinstance(state, str) or len(state) > _MAX_STATE_CHARS:
        return ""
    members = [member.strip(" \t") for member in state.split(",")]
    if len(members) > _MAX_MEMBERS or not all(map(_MEMBER_FORM.fullmatch, members)):
        return ""
    return ",".join(members)
