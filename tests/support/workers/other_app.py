"""Somebody else's Celery app, whose tasks come before and after our jobs. Nothing of sentq in it.

`celery -A tests.support.workers.other_app worker` is a stock worker that takes them from a queue of
its own.
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
    """What comes before a job: it finds the texts."""
    return list(texts)


def save(outcome: dict[str, Any]) -> int:
    """What comes after a job: it does something with the outcomes, here counts them."""
    return len(outcome["outcomes"])


def collect(outcomes: list[dict[str, Any]]) -> int:
    """The body of a chord over jobs."""
    return sum(map(save, outcomes))


def regret(failed_id: str) -> str:
    """What is called where a job failed."""
    return f"sorry for {failed_id}"


for _task in (write, save, collect, regret):
    app.task(name=f"followup.{_task.__name__}")(_task)
