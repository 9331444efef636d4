"""Dead letters: messages that no worker can process, each with the reason, as stored in Redis.

They are entries of a stream. The id of an entry tells when its message was dead-lettered:

    sentq.dead   1763717117123-0   code worker_lost   deliveries 3   message {"body": …} …

Workers write them in the step that removes the message from the unacknowledged ones. Operators
read, retry or drop them. They are removed at the age of `dead_letter_ttl_s`, if there are more than
about 10,000, or if they use more than `dead_letter_max_bytes`.

Of a malformed message of more than 64 KiB, only the beginning and the end are kept: no worker can
run it, and senders of such messages must not fill Redis.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

__all__ = [
    "DEAD_LETTERS_KEY",
    "DeadLetter",
    "DeadLetterCode",
    "dead_letter_fields",
    "parse_dead_letter",
]

#: The stream. A configured key prefix goes before it.
DEAD_LETTERS_KEY: Final = "sentq.dead"

#: A malformed message of more bytes is truncated.
_MAX_MALFORMED_BYTES: Final = 64 * 1024

#: What is kept of it, as in `take_messages.lua`.
_KEPT_HEAD_BYTES: Final = 1024
_KEPT_TAIL_BYTES: Final = 3072


class DeadLetterCode(StrEnum):
    """Why a message was dead-lettered. Readers accept other codes too, of newer workers."""

    #: It cannot be read, decoded or delivered: it is not a message of a Celery task.
    MALFORMED = "malformed"
    #: Its task is unknown to the worker.
    UNKNOWN_TASK = "unknown_task"
    #: Its worker was lost at each delivery; at the last one the job ran alone.
    WORKER_LOST = "worker_lost"
    #: Its texts are encrypted, and its worker could not decrypt them.
    UNDECRYPTABLE = "undecryptable"
    #: What follows its job is not in the worker's `follow_queues` or `follow_tasks`.
    LINK_REFUSED = "link_refused"


class DeadLetter(BaseModel):
    """A dead letter.

    Attributes:
        id: The id of the stream's entry.
        code: A `DeadLetterCode`, or that of a newer worker.
        reason: Why, in words that quote no text.
        job_id: The job, None if the message does not name one.
        deliveries: How often the message was delivered to a worker.
        first_error: How the first delivery ended, None if unknown.
        last_error: How the last delivery ended, None if unknown.
        worker: The worker that wrote the dead letter or ran the job alone, None if unknown.
        queue: The queue from which the message was taken, None if unknown.
        size_bytes: The size of the whole message if it was truncated; else None.
        message: The raw message, or its beginning and end. Only it may hold texts of users, so
            `repr` leaves it out.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    id: Annotated[str, Field(pattern=r"^\d{1,20}-\d{1,20}$")]
    code: str
    reason: str
    job_id: str | None = None
    deliveries: NonNegativeInt = 0
    first_error: str | None = None
    last_error: str | None = None
    worker: str | None = None
    queue: str | None = None
    size_bytes: NonNegativeInt | None = None
    message: Annotated[bytes, Field(repr=False)]

    @property
    def is_truncated(self) -> bool:
        """Whether `message` is not the whole message, so that it cannot be sent again."""
        return self.size_bytes is not None

    @property
    def at_s(self) -> float:
        """When it was written: Unix seconds by Redis' clock."""
        return int(self.id.partition("-")[0]) / 1000


def dead_letter_fields(
    *,
    code: str,
    reason: str,
    message: bytes,
    job_id: str | None = None,
    deliveries: int = 0,
    first_error: str | None = None,
    last_error: str | None = None,
    worker: str | None = None,
    queue: str | None = None,
) -> list[bytes]:
    """Return the names and values of a stream entry in turn. `DeadLetter` explains them.

    A large malformed message is truncated.
    """
    size_bytes = None
    if code == DeadLetterCode.MALFORMED and len(message) > _MAX_MALFORMED_BYTES:
        size_bytes = str(len(message))
        message = message[:_KEPT_HEAD_BYTES] + b"\n...\n" + message[-_KEPT_TAIL_BYTES:]
    values: dict[str, str | None] = {
        "code": code,
        "reason": reason,
        "job_id": job_id,
        "deliveries": str(deliveries),
        "first_error": first_error,
        "last_error": last_error,
        "worker": worker,
        "queue": queue,
        "size_bytes": size_bytes,
    }
    fields: list[bytes] = []
    for name, value in values.items():
        if value is not None:
            fields += [name.encode(), value.encode("utf-8", "replace")]
    return [*fields, b"message", message]


def parse_dead_letter(entry_id: bytes, fields: Mapping[bytes, bytes]) -> DeadLetter:
    """Parse an entry of the stream.

    Raises:
        pydantic.ValidationError: It is not in the form that workers write. The error quotes
            nothing of it.
    """
    message = fields.get(b"message")
    values = {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in fields.items()
        if name != b"message"
    }
    return DeadLetter.model_validate({**values, "id": entry_id.decode(), "message": message})
