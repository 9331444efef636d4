"""A stock Celery app that answers `sentq.score` as the stand-in does, with nothing of ours."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery

from sentq.contract import JobOutcome
from tests.standin import hash_outcomes

app = Celery(
    "stock", broker=os.environ.get("SENTQ_BROKER_URL"), backend=os.environ.get("SENTQ_BROKER_URL")
)
app.conf.update(
    task_acks_late=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": float(os.environ.get("SENTQ_VISIBILITY_TIMEOUT_S", "5")),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)


def score(texts: list[str]) -> dict[str, Any]:
    """Answer after the stand-in's delay."""
    time.sleep(float(os.environ.get("STANDIN_DELAY_S", "0")))
    return JobOutcome(
        outcomes=hash_outcomes(texts),
        model="stock",
        revision=None,
        backend="stock",
        dtype="none",
        attempts=1,
        queued_ms=None,
        inference_ms=0,
    ).model_dump(mode="json")


app.task(name="sentq.score")(score)
