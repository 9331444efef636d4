"""Callbacks of jobs and of batches: Celery signatures, in the form that workers read.

    {"task": "store", "args": [], "kwargs": {}, "options": {"queue": "shop"}, "immutable": false}

That of a job stands in a header of its message, and says which argument it gets. That of a batch is
stored with the batch. Both name the current span of OpenTelemetry, if there is one. Workers check
it and publish it; here only its form is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from sentq.errors import InvalidInput
from sentq.tracing.spans import current_headers
from sentq.wire.ids import new_job_ids

__all__ = ["ThenArgument", "callback_of_batch", "callback_of_jobs"]

#: What a job's callback gets as its first argument: the id of the job, or how it ended.
ThenArgument = Literal["id", "outcome"]

_MAX_BYTES: Final = 64 * 1024

#: The parts of a signature that are kept.
_PARTS: Final = ("task", "args", "kwargs", "options", "immutable")


def callback_of_batch(signature: object) -> bytes:
    """Return the signature of a batch's callback as it is stored. It has an id, so that the task is
    the same one if Celery delivers it twice.

    Raises:
        InvalidInput: It is not the signature of one task, or not JSON, or too large.
    """
    parts = _parts(signature)
    parts["options"].setdefault("task_id", new_job_ids(1)[0])
    return _as_json(parts).encode()


def callback_of_jobs(signature: object, argument: str, *, jobs: int) -> str:
    """Return the signature of the callback of each of so many jobs, as their header has it. Workers
    make its id from that of the job. A signature that has an `argument` of its own, such as that of
    a webhook, needs that one.

    Raises:
        InvalidInput: It is not the signature of one task, or not JSON, or too large; or `argument`
            is neither "id" nor "outcome".
    """
    parts = _parts(signature)
    if isinstance(signature, Mapping):
        argument = signature.get("argument") or argument
    if argument not in get_args(ThenArgument):
        raise InvalidInput("`then_argument` is 'id' or 'outcome'")
    if jobs > 1 and "task_id" in parts["options"]:
        raise InvalidInput(
            "`then` has a task_id, which can be that of the callback of one job only"
        )
    # No placeholder of a message's template can stand in it then.
    return _as_json({**parts, "argument": argument}).replace("@", r"\u0040")


def _parts(signature: object) -> dict[str, Any]:
    if not isinstance(signature, Mapping) or not isinstance(signature.get("task"), str):
        raise InvalidInput("`then` is a signature of Celery, such as store.s().set(queue='shop')")
    if signature.get("subtask_type"):
        raise InvalidInput("`then` is the signature of one task, not a chain, group or chord")
    parts = {name: signature.get(name) for name in _PARTS}
    options = dict(signature.get("options") or {})
    given = options.get("headers") or {}
    if isinstance(given, Mapping) and (headers := current_headers()):
        options["headers"] = {**headers, **given}
    return parts | {"options": options}


def _as_json(parts: Mapping[str, object]) -> str:
    try:
        from kombu.utils.json import dumps

        text: str = dumps(parts)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput("the arguments of `then` cannot be written as JSON") from error
    if len(text) > _MAX_BYTES:
        raise InvalidInput(f"`then` has {len(text):,} bytes; the limit is {_MAX_BYTES:,}")
    return text
