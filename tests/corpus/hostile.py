"""Generated messages of a hostile sender: what follows a job, etas, ids, clocks, and sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from hypothesis import strategies as st

from tests.corpus.generated import json_values, messages
from tests.corpus.messages import body_of, message, protocol1, raw

__all__ = ["hostile_messages", "large_messages"]

_MEGABYTE: Final = 1024 * 1024

# --- What follows a job --------------------------------------------------------------------

_QUEUES: Final = st.sampled_from(
    [
        *("unacked", "unacked_index", "unacked_mutex", "sentq", "sentq.bulk", "sentq.dead"),
        *("sentq.cancelled", "sentq.workers", "_kombu.binding.sentq", "celery-task-meta-x"),
        *("other", "celery", "a string", "", "a\nb", "x" * 300, "sentq\x06\x163", "🙃"),
    ]
)

_TASKS: Final = st.sampled_from(
    [
        *("sentq.score", "followup.save", "celery.group", "celery.chain", "celery.chord"),
        *("celery.map", "celery.chunks", "celery.chord_unlock", "celery.accumulate"),
        *("celery.backend_cleanup", "os.system", "", "a\nb", "x" * 1000),
    ]
)

_RETRY_POLICIES: Final = st.fixed_dictionaries(
    {},
    optional={
        "max_retries": st.sampled_from([None, 0, 5, 10**9, -1, "5"]),
        "interval_start": st.sampled_from([0, 1_000_000, 1e300, -1, "never"]),
        "interval_step": st.sampled_from([0, 1_000_000, float("inf")]),
        "interval_max": st.sampled_from([0, 1_000_000, None]),
    },
)

_SECONDS: Final[st.SearchStrategy[object]] = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, 0.1, 60, 86_400 * 20, 86_400 * 400, 1e300, "1", True, None, []]),
)

_ETAS: Final = st.one_of(
    st.datetimes().map(lambda date: date.isoformat()),
    st.builds(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}".format,
        st.sampled_from([0, 1, 1969, 1970, 2026, 2027, 2038, 9999, 12_345]),
        st.integers(0, 13),
        st.integers(0, 32),
        st.integers(0, 25),
        st.integers(0, 61),
        st.integers(0, 61),
        st.sampled_from(["", "Z", "+00:00", "-12:00", "+14:00", "+99:99", "+0", ".999999Z", "z"]),
    ),
    st.sampled_from(["now", "", "0", "1e9", "2026-W12-3", "2026-123", "-1", "∞", "24:00"]),
    _SECONDS,
    json_values,
)

_NAMES_OF_OPTIONS: Final = (
    *("retry", "exchange", "exchange_type", "routing_key", "serializer", "compression"),
    *("connection", "producer", "publisher", "declare", "delivery_mode", "add_to_parent"),
    *("task_id", "root_id", "parent_id", "group_id", "chord", "chain", "link", "link_error"),
    *("headers", "reply_to", "shadow", "ignore_result", "stamped_headers", "argsrepr"),
    *("replaced_task_nesting", "time_limit", "soft_time_limit", "max_retries", "router"),
)

_OPTIONS: Final = st.fixed_dictionaries(
    {},
    optional={
        "queue": _QUEUES,
        "retry_policy": _RETRY_POLICIES | json_values,
        "countdown": _SECONDS,
        "eta": _ETAS,
        "expires": _ETAS,
        "priority": _SECONDS,
    },
)

_MORE_OPTIONS: Final = st.dictionaries(
    st.sampled_from(_NAMES_OF_OPTIONS),
    st.sampled_from(["json", "pickle", "yaml", "zlib", "topic", "fanout", True, 2**40])
    | json_values,
    max_size=3,
)


def _signature(
    task: str, args: list[Any], options: dict[str, Any], more: dict[str, Any], kind: object
) -> dict[str, Any]:
    whole = {"task": task, "args": args, "kwargs": {}, "options": more | options}
    return whole | {"subtask_type": kind, "immutable": False}


_SIMPLE: Final = st.builds(
    _signature,
    _TASKS,
    st.lists(json_values, max_size=2),
    _OPTIONS,
    _MORE_OPTIONS,
    st.sampled_from([None, None, "group", "chain", "x"]),
)


def _canvas(kind: str, tasks: list[Any], body: Any, options: dict[str, Any]) -> dict[str, Any]:
    kwargs = {"header": tasks, "body": body} if kind == "chord" else {"tasks": tasks}
    return _signature(f"celery.{kind}", [], options, {}, kind) | {"kwargs": kwargs}


_SIGNATURES: Final = st.recursive(
    _SIMPLE | json_values,
    lambda inner: st.builds(
        _canvas,
        st.sampled_from(["group", "chain", "chord"]),
        st.lists(inner, max_size=3),
        inner,
        _OPTIONS,
    ),
    max_leaves=6,
)


def _nested(depth: int, kind: str, leaf: dict[str, Any]) -> Any:
    for _ in range(depth):
        leaf = _canvas(kind, [leaf], leaf if kind == "chord" and depth < 8 else None, {})
    return leaf


_DEEP: Final = st.builds(
    _nested, st.integers(2, 60), st.sampled_from(["group", "chain", "chord"]), _SIMPLE
)

_EMBEDS: Final = st.dictionaries(
    st.sampled_from(["callbacks", "errbacks", "chain", "chord"]),
    st.lists(_SIGNATURES | _DEEP, max_size=3) | _SIGNATURES,
    min_size=1,
)


def _linked(job_id: str, embed: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    return message(json.dumps([[texts], {}, embed]), job_id=job_id)


#: Without a text a job fails, and its error links are called.
_TEXTS: Final = st.sampled_from([["a text"], []])


def _many(job_id: str, count: int, link: dict[str, Any]) -> dict[str, Any]:
    return _linked(job_id, {"callbacks": [link] * count}, ["a text"])


# --- Headers -------------------------------------------------------------------------------

_IDS: Final = st.one_of(
    st.uuids().map(str),
    st.text(max_size=40),
    st.sampled_from(
        [
            *("sentq", "unacked", "*", "?", "..", "/", "%s", "{}", "a\r\nb", "\x00", "x" * 5000),
            # Ids of version 7 that say 1970, and the year 10889.
            *("00000000-0000-7000-8000-000000000001", "ffffffff-ffff-7fff-bfff-ffffffffffff"),
        ]
    ),
)

_CLOCKS: Final = st.sampled_from(
    [0, -1, 1, 2**31, 2**53, 2**63, 2**64, 1e300, -1e300, float("nan"), float("inf"), "now", None]
)

_HEADERS: Final = st.fixed_dictionaries(
    {},
    optional={
        "eta": _ETAS,
        "expires": _ETAS,
        "root_id": _IDS,
        "parent_id": _IDS,
        "group": _IDS,
        "group_index": _CLOCKS,
        "retries": _CLOCKS,
        "timelimit": st.lists(_CLOCKS, max_size=3) | _CLOCKS,
        "sentq_deadline_ms": _CLOCKS,
        "sentq_deliveries": _CLOCKS,
        "sentq_alone": json_values,
        "redelivered": json_values,
        "sent_event": json_values,
        "stamps": json_values,
        "stamped_headers": json_values,
        "x": st.integers(0, 300_000).map("x".__mul__),
    },
)

_PROPERTIES: Final = st.fixed_dictionaries(
    {},
    optional={
        "correlation_id": _IDS,
        "reply_to": _IDS,
        "delivery_tag": _IDS,
        "priority": _CLOCKS,
        "timestamp": _CLOCKS,
        "expiration": _CLOCKS,
    },
)


def _timed(job_id: str, headers: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    return message(body_of("a text"), job_id=job_id, headers=headers, properties=properties)


def _timed_protocol1(job_id: str, eta: Any, expires: Any) -> dict[str, Any]:
    return protocol1(id=job_id, eta=eta, expires=expires)


def _raw(whole: dict[str, Any]) -> bytes:
    return json.dumps(whole).encode("utf-8", "surrogatepass")


_LINKED: Final = st.one_of(
    st.builds(_linked, st.uuids().map(str), _EMBEDS, _TEXTS),
    st.builds(_linked, st.uuids().map(str), _EMBEDS, _TEXTS),
    st.builds(_many, st.uuids().map(str), st.sampled_from([2, 50, 499, 600]), _SIMPLE),
)

_TIMED: Final = st.one_of(
    st.builds(_timed, _IDS, _HEADERS, _PROPERTIES),
    st.builds(_timed_protocol1, st.uuids().map(str), _ETAS, _ETAS),
)

#: Also what other generators draw: damaged messages, values of every type in every place.
hostile_messages: Final[st.SearchStrategy[bytes]] = st.one_of(
    messages, messages, _LINKED.map(_raw), _LINKED.map(_raw), _TIMED.map(_raw), _TIMED.map(_raw)
)


def large_messages() -> Iterator[bytes]:
    """Yield messages of up to 64 MiB, one at a time: in the headers, properties or body."""
    for megabytes in (1, 1, 2, 4, 16, 32, 64):
        filler = "x" * (megabytes * _MEGABYTE)
        yield raw(message(headers={"x": filler}))
        yield raw(message(headers={"eta": "2026-01-01T00:00:00Z", filler: 1}))
        yield raw(message() | {"body": filler})
        whole = message()
        yield raw(whole | {"properties": {"x": filler} | whole["properties"]})
