"""A stock Celery app that runs `sentq.score` as the stand-in worker does, without sentq_worker."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery

from sentq.contract import JobOutcome
from tests.support.workers.standin import ExecutionRecord, hash_outcomes

app = Celery(
    "stock", broker=os.environ.get("SENTQ_BROKER_URL"), backend=os.environ.get("SENTQ_BROKER_URL")
)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    redis_socket_timeout=5,
    redis_socket_connect_timeout=3,
    redis_backend_health_check_interval=5,
    broker_transport_options={
        "visibility_timeout": float(os.environ.get("SENTQ_VISIBILITY_TIMEOUT_S", "5")),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 5,
        "socket_timeout": 5,
        "socket_connect_timeout": 3,
        "health_check_interval": 5,
    },
)

_record = ExecutionRecord.from_environment()


def score(texts: list[str]) -> dict[str, Any]:
    """Score texts after the stand-in's delay."""
    _record.begin([texts])
    time.sleep(float(os.environ.get("STANDIN_DELAY_S", "0")))
    outcomes = hash_outcomes(texts)
    _record.end()
    return JobOutcome(
        outcomes=outcomes,
        model="stock",
        revision=None,
        backend="stock",
        dtype="none",
        attempts=1,
        queued_ms=None,
        inference_ms=0,
    ).model_dump(mode="json")


app.task(name="sentq.score")(score)


def main() -> None:
    """Run a worker until it is stopped."""
    app.worker_main([*("worker", "-P", "solo", "-l", "INFO", "-Q", "sentq,sentq.bulk")])


if __name__ == "__main__":
    main()
