"""Which tasks may follow a job, and in which queues: `follow_tasks` and `follow_queues`.

A worker publishes what follows a job with its own rights, and a sender has fewer of them. With
these settings a sender cannot have a worker publish what the sender may not publish itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sentq.errors import LinkRefused
from sentq_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["FollowRules", "waiting_ids"]


class FollowRules:
    """Tells whether a task may follow a job.

    Args:
        app: Knows the queue of a task whose signature names none.
        settings: The queues and tasks that are allowed.
    """

    def __init__(self, app: Celery, settings: WorkerSettings) -> None:
        self._app = app
        self._queues, self._tasks = settings.follow_queues, settings.follow_tasks

    def check_task(self, task: str, queue: str | None) -> None:
        """Check a task that would be published.

        Args:
            task: Its name.
            queue: The queue that its signature names, if any.

        Raises:
            LinkRefused: The settings do not allow the task, or its queue. Quotes neither.
        """
        if self._tasks is not None and task not in self._tasks:
            raise LinkRefused("a task that follows the job is not in worker.follow_tasks")
        if self._queues is not None:
            self.check_queue(queue or self._default_queue(task))

    def check_queue(self, queue: str | None) -> None:
        """Check a queue that a signature names, if it names one.

        Raises:
            LinkRefused: The settings do not allow the queue. The error does not quote it.
        """
        if queue is not None and self._queues is not None and queue not in self._queues:
            raise LinkRefused("the queue of a task that follows the job is not in follow_queues")

    def _default_queue(self, task: str) -> str:
        queue: str = self._app.amqp.router.route({}, task)["queue"].name
        return queue


def waiting_ids(payload: object) -> Iterator[str]:
    """Return the ids of the tasks for which a client may wait, and which never run if the job of a
    message does not: the rest of its chain, and the bodies of chords.

    Args:
        payload: The decoded body of a message whose signatures were checked.
    """
    embed = payload[-1] if isinstance(payload, list) else payload
    signatures = _signatures(embed if isinstance(embed, dict) else {}, "chain", "chord")
    while signatures:
        signature = signatures.pop()
        options = signature["options"]
        if (task_id := options.get("task_id")) is not None:
            yield task_id
        signatures += _signatures(options, "chord", "chain")
        if signature["subtask_type"]:
            signatures += _signatures(signature["kwargs"], "body", "tasks")


def _signatures(holder: Mapping[str, Any], *names: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for name in names:
        part = holder.get(name)
        found += part if isinstance(part, list) else [part] if part else []
    return found
