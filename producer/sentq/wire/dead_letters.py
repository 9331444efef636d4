"""Dead letters: messages that nobody could handle, and why, as they lie in Redis.

They are entries of a stream, and the id of an entry says when its message died:

    sentq.dead   1763717117123-0   code worker_lost   deliveries 3   message {"body": …} …

Workers write them, in the step that gives the message up; operators read them, put them back, or
drop them. They go when they are as old as `dead_letter_ttl_s` says, or when there are too many.
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

#: The stream. A key prefix, where one is configured, goes before it.
DEAD_LETTERS_KEY: Final = "sentq.dead"


class DeadLetterCode(StrEnum):
    """Why a message was given up. Readers take any other word as well: a newer worker's."""

    #: It is no message, or no task's: it cannot be read, decoded or delivered.
    MALFORMED = "malformed"
    #: It is a task that this worker does not know.
    UNKNOWN_TASK = "unknown_task"
    #: Its worker was lost each time, at last while the job ran alone.
    WORKER_LOST = "worker_lost"


class DeadLetter(BaseModel):
    """One dead letter. Only `message`, which its repr leaves out, may hold anybody's text.

    `id` is the stream's; `deliveries` is how often the message was handed to a worker; the errors
    say how the first and the last of these ended; `queue` is where it was taken from. What the
    worker could not know is None.
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
    message: Annotated[bytes, Field(repr=False)]

    @property
    def at_s(self) -> float:
        """When it was written: Unix time in seconds, by Redis' clock."""
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
    """The fields of a stream entry and their values, by turns; `DeadLetter` says what they mean."""
    values: dict[str, str | None] = {
        "code": code,
        "reason": reason,
        "job_id": job_id,
        "deliveries": str(deliveries),
        "first_error": first_error,
        "last_error": last_error,
        "worker": worker,
        "queue": queue,
    }
    fields: list[bytes] = []
    for name, value in values.items():
        if value is not None:
            fields += [name.encode(), value.encode("utf-8", "replace")]
    return [*fields, b"message", message]


def parse_dead_letter(entry_id: bytes, fields: Mapping[bytes, bytes]) -> DeadLetter:
    """Read an entry of the stream.

    Raises:
        pydantic.ValidationError: Somebody else wrote it. Nothing of it is quoted.
    """
    message = fields.get(b"message")
    values = {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in fields.items()
        if name != b"message"
    }
    return DeadLetter.model_validate({**values, "id": entry_id.decode(), "message": message})
