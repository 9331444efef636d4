"""The callback of a batch: a Celery signature, as it is stored with the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kombu.utils.json import dumps

from sentq.errors import InvalidInput
from sentq.wire.ids import new_job_ids

__all__ = ["callback_of"]

_MAX_BYTES: Final = 64 * 1024

#: The parts of a signature that are stored.
_PARTS: Final = ("task", "args", "kwargs", "options", "immutable")


def callback_of(signature: object) -> bytes:
    """Return a signature as it is stored. It has an id, so that the task is the same one if Celery
    delivers it twice.

    Raises:
        InvalidInput: It is not the signature of one task, or not JSON, or too large.
    """
    if not isinstance(signature, Mapping) or not isinstance(signature.get("task"), str):
        raise InvalidInput("`then` is a signature of Celery, such as store.si().set(queue='shop')")
    if signature.get("subtask_type"):
        raise InvalidInput("`then` is the signature of one task, not a chain, group or chord")
    stored = {name: signature.get(name) for name in _PARTS}
    options = dict(signature.get("options") or {})
    options.setdefault("task_id", new_job_ids(1)[0])
    try:
        callback: bytes = dumps(stored | {"options": options}).encode()
    except (TypeError, ValueError) as error:
        raise InvalidInput("the arguments of `then` cannot be written as JSON") from error
    if len(callback) > _MAX_BYTES:
        raise InvalidInput(f"`then` has {len(callback):,} bytes; the limit is {_MAX_BYTES:,}")
    return callback
