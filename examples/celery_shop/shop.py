"""A shop's own Celery application that has its reviews scored by sentq. It imports only Celery.

Both share one Redis, and a message reaches its worker by the name of its queue: sentq's workers
read `sentq`, the shop's worker reads `shop`. What the shop sends needs no name of a queue, because
the settings below route it. Sentq's worker sends the tasks that follow its jobs, and does not know
these settings: such a task names its queue, or `worker.follow_routes` of sentq's worker routes it.
"""

import os
import sqlite3
import uuid
from collections import Counter
from contextlib import closing
from typing import Any

from celery import Celery, Signature, Task

url = os.environ.get("SENTQ_BROKER_URL", "redis://127.0.0.1:6379/0")
app = Celery("shop", broker=url, backend=url)
app.conf.update(
    task_default_queue="shop",
    task_routes={"sentq.score": {"queue": "sentq"}},
    broker_connection_retry_on_startup=True,
)

REVIEWS = {
    "kettle": ["Great kettle, quick and quiet.", "The lid is broken and it leaks."],
    "lamp": ["The lamp is 30 cm high.", "Loved it.", "It broke after two days. Terrible."],
}


def score(*texts: list[str]) -> Signature:
    """Make a job for sentq: of these texts, or in a chain of those that the task before returns."""
    return app.signature("sentq.score", args=texts, queue="sentq")


def ours(task: Task, *args: Any) -> Signature:
    """Make a call of one of the shop's tasks."""
    return task.s(*args).set(queue="shop", task_id=str(uuid.uuid4()))


def labels_of(result: dict[str, Any]) -> list[str]:
    """Return the labels in a job's result; of a text that cannot be scored, the error's code."""
    return [outcome.get("label") or outcome["code"] for outcome in result["outcomes"]]


@app.task(ignore_result=True)
def fetch(product: str) -> list[str]:
    """Return the reviews of a product. Redis need not keep the texts as this task's result."""
    return REVIEWS[product]


@app.task(bind=True, ignore_result=True)
def fetch_from_supplier(self: Task, product: str) -> list[str]:
    """Return the reviews of a supplier who answers at the second attempt only."""
    if self.request.retries == 0:
        raise self.retry(countdown=0.1, max_retries=3)
    return REVIEWS[product]


@app.task
def store(result: dict[str, Any], product: str) -> str:
    """Store the labels of a product's reviews, and say what was stored."""
    labels = ", ".join(labels_of(result))
    with closing(sqlite3.connect(os.environ.get("SHOP_DB", "shop.sqlite3"))) as db, db:
        db.execute("CREATE TABLE IF NOT EXISTS reviews (product TEXT PRIMARY KEY, labels TEXT)")
        db.execute("REPLACE INTO reviews VALUES (?, ?)", (product, labels))
    return f"{product}: {labels}"


@app.task
def count(results: list[dict[str, Any]]) -> dict[str, int]:
    """Count the labels of many jobs' results."""
    return dict(Counter(label for result in results for label in labels_of(result)))


@app.task
def regret(job_id: str) -> str:
    """Handle a job that failed as a whole; a shop would tell its operator."""
    return job_id
