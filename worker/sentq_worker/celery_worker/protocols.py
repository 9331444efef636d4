"""What the Celery hooks use of Celery's own objects, beyond `broker.protocols`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from sentq_worker.broker.protocols import DeliveredMessage, EventLoop, Headers, JobConsumer

if TYPE_CHECKING:
    from celery import Celery, Task

__all__ = [
    "ControlState",
    "MessageHandler",
    "StrategyConsumer",
    "TaskRequest",
    "WorkController",
]

#: What a task's strategy makes. Its arguments are the message, the body of a message of Celery's
#: first protocol, and what acknowledges, rejects, and is called at the end.
MessageHandler = Callable[[DeliveredMessage, Headers | None, object, object, object], None]


class _Pool(Protocol):
    _does_debug: bool


class WorkController(Protocol):
    """A worker, `celery.worker.WorkController`."""

    exitcode: int | None
    hostname: str

    @property
    def app(self) -> Celery: ...

    @property
    def hub(self) -> EventLoop | None: ...

    @property
    def pool(self) -> _Pool: ...

    @property
    def pool_cls(self) -> type[object]: ...


class StrategyConsumer(JobConsumer, Protocol):
    """Celery's consumer, as a task's strategy uses it."""

    @property
    def app(self) -> Celery: ...

    @property
    def hub(self) -> EventLoop | None: ...

    @property
    def disable_rate_limits(self) -> bool: ...

    @property
    def task_buckets(self) -> Mapping[str, object]:
        """The rate limits of tasks, by name."""
        ...

    @property
    def on_task_message(self) -> object:
        """What plug-ins added to be called for each message."""
        ...


class TaskRequest(Protocol):
    """A request, `celery.worker.request.Request`."""

    @property
    def id(self) -> str: ...

    @property
    def task(self) -> Task: ...

    @property
    def args(self) -> list[object]: ...

    @property
    def kwargs(self) -> dict[str, object]: ...

    @property
    def request_dict(self) -> Headers: ...

    @property
    def delivery_info(self) -> Headers: ...

    @property
    def message(self) -> DeliveredMessage: ...

    def revoked(self) -> bool:
        """Return whether it was revoked or has expired; if so end it."""
        ...


class ControlState(Protocol):
    """What a remote control command is called with."""

    @property
    def app(self) -> Celery: ...

    @property
    def hostname(self) -> str: ...
