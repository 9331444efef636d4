"""Messages of jobs, as the worker of the test kit reads them and as a test sees them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from kombu.utils.json import loads

from sentq.connection.broker import queue_of_list
from sentq.contract import (
    CALLBACK_HEADER,
    DEADLINE_HEADER,
    DETAIL_HEADER,
    LOCAL_ONLY_HEADER,
    SEALED_FIELD,
    TASK_NAME,
    Detail,
    JobOptions,
    JobRequest,
    Limits,
    check_count,
    check_detail,
)
from sentq.errors import InvalidInput, Undecryptable
from sentq.wire.batches import BatchPlace, place_in
from sentq.wire.ids import sent_at_ms
from sentq.wire.sealing import Keyring, Purpose

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["PublishedTask", "SubmittedJob", "TaskMessage"]

#: The arguments of a job that have its texts.
_TEXT_FIELDS: Final = frozenset({"texts", SEALED_FIELD})


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """A message in a queue.

    Attributes:
        raw: The message as it was sent.
        queue_key: The key of the list in which it was.
        queue: The name of its queue.
        id: The id of its task: that of the job.
        task: The name of its task.
        headers: Celery's headers.
        args, kwargs: The arguments of its task.
    """

    raw: bytes = field(repr=False)
    queue_key: bytes = field(repr=False)
    queue: str
    id: str
    task: str
    headers: Mapping[str, Any] = field(repr=False)
    args: Sequence[Any] = field(repr=False)
    kwargs: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, raw: bytes, queue_key: bytes) -> TaskMessage:
        """Read a message from the list of a queue."""
        envelope = json.loads(raw)
        args, kwargs, _ = json.loads(base64.b64decode(envelope["body"]))
        headers = envelope["headers"]
        queue = queue_of_list(queue_key.decode())
        return cls(raw, queue_key, queue, headers["id"], headers["task"], headers, args, kwargs)

    @property
    def is_job(self) -> bool:
        """Whether it is a job of sentq."""
        return self.task == TASK_NAME

    def texts(self, keyring: Keyring | None, limits: Limits) -> list[Any]:
        """Return the texts of the job, as a worker reads them.

        Raises:
            InvalidInput: The job as a whole breaks the contract.
            Undecryptable: The texts are encrypted, and cannot be decrypted with these keys.
        """
        if SEALED_FIELD in self.kwargs:
            if keyring is None:
                raise Undecryptable("the texts are encrypted, and the kit has no encryption_keys")
            texts = keyring.open(self.kwargs[SEALED_FIELD], Purpose.TEXTS, self.id)
            if not isinstance(texts, list):
                raise InvalidInput(f"{TASK_NAME}: the encrypted texts must be a list")
        else:
            texts = JobRequest.from_task(self.args, self.kwargs).texts
        check_count(len(texts), limits)
        check_detail(self.headers.get(DETAIL_HEADER), len(texts))
        return texts

    @property
    def asked(self) -> JobOptions:
        """What the job asks for beside its texts.

        Raises:
            InvalidInput: An option is unknown, or does not fit.
        """
        beside = {key: value for key, value in self.kwargs.items() if key not in _TEXT_FIELDS}
        return JobOptions.checked(beside)

    @property
    def deadline_ms(self) -> float | None:
        """The time until which the outcome is of use, in Unix milliseconds."""
        return self.headers.get(DEADLINE_HEADER)

    @property
    def due_ms(self) -> float | None:
        """When the job is due that was sent for later, in Unix milliseconds; None if at once."""
        eta = self.headers.get("eta")
        return None if eta is None else datetime.fromisoformat(eta).timestamp() * 1000

    @property
    def callback(self) -> str | None:
        """The signature of the task that follows the job, as JSON; None for none."""
        return self.headers.get(CALLBACK_HEADER)

    @property
    def batch_place(self) -> BatchPlace | None:
        """Where the job stands in its batch; None if it is in none."""
        return place_in(self.headers)

    @property
    def is_local_only(self) -> bool:
        """Whether the texts may not leave the worker's machine."""
        return bool(self.headers.get(LOCAL_ONLY_HEADER))

    @property
    def detail(self) -> Detail | None:
        """Which parts of the texts are scored, too."""
        return self.headers.get(DETAIL_HEADER)


@dataclass(frozen=True, slots=True)
class PublishedTask:
    """A task of the application that a worker has published, because the job or the batch that it
    follows has ended.

    Attributes:
        task: The name of the task.
        args, kwargs: Its arguments, as they come out of JSON.
        queue: Its queue; None for that to which the worker's app routes it.
        id: Its id.
    """

    task: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    queue: str | None
    id: str

    @classmethod
    def from_signature(cls, signature: bytes | str, first: object, follows: str) -> PublishedTask:
        """Return the task of a signature, as a worker publishes it.

        Args:
            signature: The signature as JSON.
            first: Its first argument, unless it is immutable.
            follows: The id of the job or the batch that it follows.
        """
        stored = loads(signature)
        args = [*([] if stored["immutable"] else [first]), *(stored["args"] or ())]
        options = stored["options"]
        queue, task_id = options.get("queue"), options.get("task_id") or f"{follows}-then"
        return cls(stored["task"], tuple(args), stored["kwargs"] or {}, queue, task_id)

    def run(self, app: Celery) -> Any:
        """Run the task in this process, and return what it returns.

        Args:
            app: The application's Celery app, which has the task.

        Raises:
            celery.exceptions.NotRegistered: It has no such task.
        """
        return app.tasks[self.task](*self.args, **self.kwargs)


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """A job that the code under test has sent.

    Attributes:
        id: The id of the job.
        texts: Its texts. Empty if they are encrypted with keys that the kit does not have.
        queue: Its queue.
        deadline_s: How long after it was sent its deadline is, in seconds; None if it has none.
        local_only: Whether it was sent with `local_only=True`.
        detail: Which parts of the texts it asks for; None for none.
        batch_id: The id of its batch; None if it is in none.
        model: The name of the model that it asks for; None if workers choose.
    """

    id: str
    texts: tuple[str, ...]
    queue: str
    deadline_s: float | None = None
    local_only: bool = False
    detail: Detail | None = None
    batch_id: str | None = None
    model: str | None = None

    @classmethod
    def from_message(cls, message: TaskMessage, keyring: Keyring | None) -> SubmittedJob:
        """Return what a test sees of a message."""
        try:
            texts = tuple(message.texts(keyring, Limits()))
        except (InvalidInput, Undecryptable):
            texts = ()
        sent_ms, deadline_ms = sent_at_ms(message.id), message.deadline_ms
        deadline_s = None
        if sent_ms is not None and deadline_ms is not None:
            deadline_s = round((deadline_ms - sent_ms) / 1000, 2)
        place = message.batch_place
        return cls(
            id=message.id,
            texts=texts,
            queue=message.queue,
            deadline_s=deadline_s,
            local_only=message.is_local_only,
            detail=message.detail,
            batch_id=None if place is None else place.batch_id,
            model=message.kwargs.get("model"),
        )
