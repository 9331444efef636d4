"""A Celery app without sentq, whose tasks come before and after jobs in a canvas.

`celery -A tests.support.workers.other_app worker` is a stock worker with its own queue.
"""

from __future__ import annotations

import os
from typing import Any, Final

from celery import Celery

__all__ = ["QUEUE", "app"]

QUEUE: Final = "followup"

_url = os.environ.get("FOLLOWUP_URL")
app = Celery("followup", broker=_url, backend=_url, set_as_current=False)
app.conf.update(
    task_default_queue=QUEUE,
    task_acks_late=True,
    broker_connection_retry_on_startup=True,
)


def write(*texts: str) -> list[str]:
    """Return the texts, as a task before a job."""
    return list(texts)


def save(outcome: dict[str, Any]) -> int:
    """Count the outcomes, as a task after a job."""
    return len(outcome["outcomes"])


def collect(outcomes: list[dict[str, Any]]) -> int:
    """Count the outcomes of all jobs, as the body of a chord."""
    return sum(map(save, outcomes))


def regret(failed_id: str) -> str:
    """Return a message with the id of a failed job, as an error callback."""
    return f"sorry for {failed_id}"


for _task in (write, save, collect, regret):
    app.task(name=f"followup.{_task.__name__}")(_task)
