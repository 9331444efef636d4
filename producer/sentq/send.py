"""Sending jobs: one Celery task message a job, published within the configured time-outs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import redis
from kombu.exceptions import OperationalError

from sentq.contract import TASK_NAME, redacted
from sentq.errors import BrokerUnavailable, ResultsUnavailable
from sentq.ids import new_job_id

if TYPE_CHECKING:
    from celery import Celery

    from sentq.results import Results

__all__ = ["Sender"]

#: A pooled connection may be dead (Redis restarted): try once more on a new one, at once.
_RETRY_POLICY: Final = {"max_retries": 1, "interval_start": 0, "interval_step": 0}


class Sender:
    """Puts jobs into the broker. Safe to share between threads."""

    def __init__(self, app: Celery, results: Results) -> None:
        self._app = app
        self._results = results

    def send(self, texts: Sequence[str], *, queue: str) -> str:
        """Send one job of checked texts and return its id.

        Raises:
            BrokerUnavailable: Nobody accepted the job within the time-outs.
        """
        job_id = new_job_id()
        try:
            self._results.mark_queued(job_id)
            self._publish(job_id, texts, queue)
        except ResultsUnavailable as error:
            raise BrokerUnavailable(f"the job was not sent: {error}") from error
        except (OperationalError, redis.RedisError, OSError) as error:
            self._results.forget(job_id)
            raise BrokerUnavailable(f"the job was not sent: {error}") from error
        return job_id

    def _publish(self, job_id: str, texts: Sequence[str], queue: str) -> None:
        # Celery's own message, published by Celery's own sender: publish signals, task-sent
        # events and routing apply. Not app.send_task, because that subscribes to the result of
        # every job on a connection that nobody here reads.
        amqp = self._app.amqp
        message = amqp.create_task_message(
            job_id,
            TASK_NAME,
            args=[list(texts)],
            kwargs={},
            argsrepr=redacted(len(texts)),
            kwargsrepr="{}",
        )
        with self._app.producer_or_acquire() as producer:
            amqp.send_task_message(
                producer,
                TASK_NAME,
                message,
                queue=queue,
                retry=True,
                retry_policy=_RETRY_POLICY,
            )
