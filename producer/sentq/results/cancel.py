"""Cancelling jobs that nobody has begun to score.

A cancelled job is answered at once, with Celery's document of a revoked one; the first answer
stays, so that a worker which has not heard of it changes nothing. Its message waits on until a
worker drops it. Workers hear of it twice: Celery's broadcast reaches those that listen, if the
sender may speak to them; and all of them look every few seconds at what is noted here:

    sentq.cancelled   sorted set   job id -> when it was cancelled, in Unix seconds
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import redis
from kombu.exceptions import OperationalError

from sentq.connection.app import result_key
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
    """Cancel a job unless it is being scored or has ended; return whether it is cancelled.

    Raises:
        UnknownJob, JobExpired: Redis knows nothing of the job (any more).
        ResultsUnavailable: Redis did not answer, or refused.
    """
    key, step = results.document_keys(job_id)
    before, replaced = results.run_script(
        _CANCEL,
        [key, step, result_key(results.app, _CANCELLED_KEY)],
        [cancelled_document(job_id), results.ttl_s, job_id],
    )
    document = results.known(job_id, None if before is None else parse_document(job_id, before))
    if replaced:
        _tell_workers(results.app, job_id)
    return bool(replaced) or (is_final(document) and status_of(document) is JobStatus.CANCELLED)


def _tell_workers(app: Celery, job_id: str) -> None:
    try:
        app.control.revoke(job_id)
    except (OperationalError, redis.RedisError, OSError) as error:
        # It only saves work: those that do not hear of it score the job in vain.
        logger.debug("workers could not be told of a cancelled job: %s", type(error).__name__)


def cancelled_ids(app: Celery, *, since_s: float = 0, backend: Any = None) -> dict[str, float]:
    """The jobs that were cancelled and that a worker may still find in its queue, each with the
    time: Unix seconds by the clock of the Redis that keeps the results.

    Args:
        app: Whose results they are.
        since_s: Only those that were cancelled then or later.
        backend: Asks on its connections, instead of on the app's.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    found: list[tuple[bytes, float]] = (backend or app.backend).client.zrangebyscore(
        result_key(app, _CANCELLED_KEY), since_s, "+inf", withscores=True
    )
    return {job_id.decode("utf-8", "replace"): at_s for job_id, at_s in found}
