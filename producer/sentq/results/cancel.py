"""Cancel jobs that no worker has started.

A cancelled job gets Celery's document of a revoked task at once. A final document stays, so a
worker that does not know of the cancellation changes nothing. The message of the job stays in its
queue until a worker discards it. Workers learn of a cancellation in two ways: by Celery's
broadcast, if the sender has the right to send it; and from this key, which they poll:

    sentq.cancelled   sorted set   id of a job, or of a batch -> when it was cancelled, in Unix
                                   seconds
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sentq.connection.app import key_with_result_prefix
from sentq.connection.broker import broker_errors
from sentq.contract import JobStatus
from sentq.errors import ResultsUnavailable
from sentq.wire.batches import BATCH_KEY_PREFIX, COMPLETE_BATCHES_KEY
from sentq.wire.documents import cancelled_document, is_final, parse_document, status_of
from sentq.wire.functions import FUNCTIONS
from sentq.wire.lua import load_script
from sentq.wire.steps import Blocking, ScriptCall, Steps

if TYPE_CHECKING:
    from celery import Celery

    from sentq.results.steps import ResultSteps

__all__ = [
    "CANCELLED_KEY",
    "CANCELLED_PAGE",
    "CancelledPage",
    "cancel_steps",
    "cancelled_ids",
    "notify_workers_steps",
    "read_cancelled",
]

logger = logging.getLogger(__name__)

#: The set of cancelled jobs and batches.
CANCELLED_KEY: Final = "sentq.cancelled"

#: How many cancelled jobs are read in one step.
CANCELLED_PAGE: Final = 5_000

#: As many ids as Celery remembers of revoked tasks.
_MAX_IDS: Final = 50_000

_SHARED_KEYS: Final = (CANCELLED_KEY, COMPLETE_BATCHES_KEY)

_CANCEL: Final = FUNCTIONS["cancel_job"]
_READ_CANCELLED: Final = load_script("sentq.wire", "read_cancelled")


def cancel_steps(results: ResultSteps, job_id: str) -> Steps[bool]:
    """Cancel a job unless it runs or has ended; return whether it is cancelled.

    Raises:
        UnknownJob, JobExpired: Redis has no document of the job, or no longer.
    """
    shared = [key_with_result_prefix(results.app, key) for key in _SHARED_KEYS]
    prefix = key_with_result_prefix(results.app, BATCH_KEY_PREFIX)
    before, is_replaced = yield ScriptCall(
        _CANCEL,
        [*results.document_keys(job_id), *shared],
        [cancelled_document(job_id), results.ttl_s, job_id, prefix],
    )
    document = results.require_document(
        job_id, None if before is None else parse_document(job_id, before)
    )
    if is_replaced:
        yield from notify_workers_steps(results, job_id)
    return bool(is_replaced) or (is_final(document) and status_of(document) is JobStatus.CANCELLED)


def notify_workers_steps(results: ResultSteps, job_id: str) -> Steps[None]:
    """Tell workers at once that a job, or a batch of jobs, is cancelled, if the user may."""
    try:
        if results.is_single_redis:
            from sentq.results.revocation import revocation  # It needs kombu.

            yield revocation(results.app, job_id)
        else:
            yield Blocking(partial(results.app.control.revoke, job_id))
    except broker_errors(ResultsUnavailable) as error:
        # The broadcast only saves work: a worker that misses it may score the job in vain.
        logger.debug("workers were not notified of a cancelled job: %s", type(error).__name__)


def cancelled_ids(app: Celery, *, since_s: float = 0, backend: Any = None) -> dict[str, float]:
    """Return the cancelled jobs whose messages may still be in a queue, by id.

    The value is the time of the cancellation: Unix seconds by the clock of the results' Redis. No
    more jobs are returned than a worker remembers, those that were cancelled first.

    Args:
        app: The app of the results.
        since_s: Return only jobs that were cancelled at this time or later.
        backend: A backend whose connections are used instead of the app's.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    found: dict[str, float] = {}
    for first in range(0, _MAX_IDS, CANCELLED_PAGE):
        page = read_cancelled(app, since_s=since_s, skip=first, backend=backend)
        found |= page.ids
        if not page.is_full:
            break
    return found


class CancelledPage(NamedTuple):
    """Some of the cancelled jobs.

    Attributes:
        now_s: The time of the results' Redis, in Unix seconds.
        ids: When each was cancelled, by id, the earliest first.
        is_full: Whether there may be more.
    """

    now_s: float
    ids: dict[str, float]
    is_full: bool


def read_cancelled(
    app: Celery, *, since_s: float, skip: int = 0, backend: Any = None
) -> CancelledPage:
    """Read at most `CANCELLED_PAGE` cancelled jobs.

    Entries of the future are removed, because any sender may write them, and a reader that went on
    from one would miss all later ones. So are entries that are older than a result is kept.

    Args:
        app: The app of the results.
        since_s: Read only jobs that were cancelled at this time or later.
        skip: Leave out so many of these.
        backend: A backend whose connections are used instead of the app's.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    backend = backend or app.backend
    key = key_with_result_prefix(app, CANCELLED_KEY)
    arguments = [since_s, skip, CANCELLED_PAGE, int(backend.expires)]
    now_s, *found = _READ_CANCELLED.run(backend.client, [key], arguments)
    ids = {
        job_id.decode("utf-8", "replace"): float(at_s)
        for job_id, at_s in zip(found[::2], found[1::2], strict=True)
    }
    return CancelledPage(float(now_s), ids, len(found) >= 2 * CANCELLED_PAGE)
