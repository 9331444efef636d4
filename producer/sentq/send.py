"""Sending jobs: one Celery task message a job, accepted within the configured time-outs.

Where broker and results are one Redis, as they are unless somebody says otherwise, one script
makes jobs known and puts their messages into the queue: all of them or none, one job or five
hundred in one round trip. The messages are filled into a form that Celery made.

Elsewhere, and wherever somebody listens to what Celery says as it publishes (its signals, its
`task-sent` events), Celery publishes each message itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import redis
from celery import signals
from kombu.exceptions import OperationalError

from sentq.contract import TASK_NAME, redacted
from sentq.documents import QUEUED_DOCUMENT
from sentq.errors import BrokerUnavailable, ResultsUnavailable
from sentq.ids import new_job_ids
from sentq.template import MessageTemplate

if TYPE_CHECKING:
    from celery import Celery

    from sentq.results import Results

__all__ = ["Sender"]

#: A pooled connection may be dead (Redis restarted): try once more on a new one, at once.
_RETRY_POLICY: Final = {"max_retries": 1, "interval_start": 0, "interval_step": 0}

#: Jobs of one round trip. More of them are no faster, keep Redis from others for longer, and
#: some thousands are more than its Lua can pass on.
_JOBS_PER_STEP: Final = 500

#: Bytes of messages of one round trip, beyond a first one.
_BYTES_PER_STEP: Final = 4 * 1024 * 1024

#: KEYS: the queue, and what makes the jobs known. ARGV: TTL in seconds, its value, messages.
#: Where memory is short, SET is refused and nothing has been done.
_SEND: Final = """
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[1], 'NX')
redis.call('LPUSH', KEYS[1], unpack(ARGV, 3))
"""

_PUBLISH_SIGNALS: Final = (
    signals.before_task_publish,
    signals.after_task_publish,
    signals.task_sent,
)


class Sender:
    """Puts jobs into the broker. Safe to share between threads.

    Args:
        app: Where the broker is, and what a message looks like.
        results: Knows of jobs before they are sent.
        one_redis: Whether messages and results lie in the same database of one Redis.
    """

    def __init__(self, app: Celery, results: Results, *, one_redis: bool) -> None:
        self._app = app
        self._results = results
        self._one_redis = one_redis
        self._templates: dict[tuple[str, int], MessageTemplate] = {}

    def send(self, jobs: Sequence[Sequence[str]], *, queue: str) -> list[str]:
        """Send jobs of checked texts and return their ids, in the same order.

        Raises:
            BrokerUnavailable: Nobody accepted a job within the time-outs. `accepted` holds the
                ids of the jobs before it, which were.
        """
        accepted: list[str] = []
        try:
            if self._one_redis and not self._is_heard:
                for ids, messages in self._steps(jobs, queue):
                    self._push(ids, messages, queue)
                    accepted += ids
            else:
                for texts in jobs:
                    accepted.append(self._publish(texts, queue))
        except BrokerUnavailable as error:
            error.accepted = accepted
            raise
        return accepted

    @property
    def _is_heard(self) -> bool:
        """Whether somebody would miss what Celery says as it publishes."""
        return bool(self._app.conf.task_send_sent_event) or any(
            signal.receivers for signal in _PUBLISH_SIGNALS
        )

    def _steps(
        self, jobs: Sequence[Sequence[str]], queue: str
    ) -> Iterator[tuple[list[str], list[bytes]]]:
        """Ids and messages of the jobs, as many at a time as belong into one round trip."""
        fill = self._template(queue).fill
        for first in range(0, len(jobs), _JOBS_PER_STEP):
            some = jobs[first : first + _JOBS_PER_STEP]
            ids: list[str] = []
            messages: list[bytes] = []
            size_bytes = 0
            for job_id, texts in zip(new_job_ids(len(some)), some, strict=True):
                message = fill(job_id, texts)
                size_bytes += len(message)
                if messages and size_bytes > _BYTES_PER_STEP:
                    yield ids, messages
                    ids, messages, size_bytes = [], [], len(message)
                ids.append(job_id)
                messages.append(message)
            yield ids, messages

    def _template(self, queue: str) -> MessageTemplate:
        # A message names the process that sent it, and this one may have been forked.
        key = queue, os.getpid()
        if key not in self._templates:
            self._templates[key] = MessageTemplate(self._app, queue)
        return self._templates[key]

    def _push(self, ids: list[str], messages: list[bytes], queue: str) -> None:
        try:
            self._results.run_script(
                _SEND,
                [queue, self._results.queued_key(ids)],
                [self._results.ttl_s, QUEUED_DOCUMENT, *messages],
            )
        except ResultsUnavailable as error:
            raise BrokerUnavailable(f"the job was not sent: {error}") from error

    def _publish(self, texts: Sequence[str], queue: str) -> str:
        (job_id,) = new_job_ids(1)
        try:
            self._results.mark_queued(job_id)
            self._publish_by_celery(job_id, texts, queue)
        except ResultsUnavailable as error:
            raise BrokerUnavailable(f"the job was not sent: {error}") from error
        except (OperationalError, redis.RedisError, OSError) as error:
            self._results.forget(job_id)
            raise BrokerUnavailable(f"the job was not sent: {error}") from error
        return job_id

    def _publish_by_celery(self, job_id: str, texts: Sequence[str], queue: str) -> None:
        # Not app.send_task, because that subscribes to the result of every job on a connection
        # that nobody here reads.
        amqp = self._app.amqp
        message = amqp.create_task_message(
            job_id,
            TASK_NAME,
            args=[list(texts)],
            kwargs={},
            argsrepr=redacted(len(texts)),
            kwargsrepr="{}",
            create_sent_event=self._app.conf.task_send_sent_event,
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
