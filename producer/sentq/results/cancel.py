"""Cancel jobs that no worker has started.

A cancelled job gets Celery's document of a revoked task at once. A final document stays, so a
worker that does not know of the cancellation changes nothing. The message of the job stays in its
queue until a worker discards it. Workers learn of a cancellation in two ways: by Celery's
broadcast, if the sender has the right to send it; and from this key, which they poll:

    sentq.cancelled   sorted set   job id -> when it was cancelled, in Unix seconds
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import redis
from kombu.exceptions import OperationalError

from sentq.connection.app import key_with_result_prefix
from sentq.contract import JobStatus
from sentq.wire.documents import cancelled_document, is_final, parse_document, status_of
from sentq.wire.lua import load_script

if TYPE_CHECKING:
    from celery import Celery

    from sentq.results.reader import ResultReader

__all__ = ["cancel_job", "cancelled_ids"]

logger = logging.getLogger(__name__)

_CANCELLED_KEY: Final = "sentq.cancelled"

_CANCEL: Final = load_script("sentq.wire", "cancel_job")


def cancel_job(results: ResultReader, job_id: str) -> bool:
    """Cancel a job unless it runs or has ended; return whether it is cancelled.

    Raises:
        UnknownJob, JobExpired: Redis has no document of the job, or no longer.
        ResultsUnavailable: Redis did not answer, or refused.
    """
    before, is_replaced = results.run_script(
        _CANCEL,
        [*results.document_keys(job_id), key_with_result_prefix(results.app, _CANCELLED_KEY)],
        [cancelled_document(job_id), results.ttl_s, job_id],
    )
    document = results.require_document(
        job_id, None if before is None else parse_document(job_id, before)
    )
    if is_replaced:
        _notify_workers(results.app, job_id)
    return bool(is_replaced) or (is_final(document) and status_of(document) is JobStatus.CANCELLED)


def _notify_workers(app: Celery, job_id: str) -> None:
    try:
        app.control.revoke(job_id)
    except (OperationalError, redis.RedisError, OSError) as error:
        # The broadcast only saves work: a worker that misses it may score the job in vain.
        logger.debug("workers were not notified of a cancelled job: %s", type(error).__name__)


def cancelled_ids(app: Celery, *, since_s: float = 0, backend: Any = None) -> dict[str, float]:
    """Return the cancelled jobs whose messages may still be in a queue, by id.

    The value is the time of the cancellation: Unix seconds by the clock of the results' Redis.

    Args:
        app: The app of the results.
        since_s: Return only jobs that were cancelled at this time or later.
        backend: A backend whose connections are used instead of the app's.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    found: list[tuple[bytes, float]] = (backend or app.backend).client.zrangebyscore(
        key_with_result_prefix(app, _CANCELLED_KEY), since_s, "+inf", withscores=True
    )
    return {job_id.decode("utf-8", "replace"): at_s for job_id, at_s in found}
