"""Read the outcomes of any jobs as they end: a subscription to each of them, and reads of those
whose message may have been missed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final

from sentq.contract import JobOutcome
from sentq.errors import JobError, JobExpired, UnknownJob, WaitTimeout
from sentq.results.changes import Changes, Patience
from sentq.results.reader import ResultReader
from sentq.results.steps import ResultSteps
from sentq.wire.documents import is_final, outcome_of, parse_document
from sentq.wire.steps import Steps

__all__ = ["Ended", "completed_jobs", "ended_among_steps"]

#: The outcome of a job, or why it has none.
Ended = JobOutcome | JobError

#: How many jobs one round trip reads, and how many are read again after a wait without a message.
_READ_JOBS: Final = 256
_READ_AGAIN: Final = 2048


def completed_jobs(
    results: ResultReader, job_ids: Iterable[str], *, timeout_s: float | None
) -> Iterator[tuple[str, Ended]]:
    """Yield each of these jobs with its outcome, or its error, as it ends.

    Args:
        results: Reads the outcomes.
        job_ids: The jobs. One that is there twice is yielded once.
        timeout_s: Seconds to wait for the next one at most; None waits until one ends.

    Raises:
        WaitTimeout: No job ended in time; it names one of those that are left.
        ResultsUnavailable: Redis was not available for too long.
    """
    pending = dict.fromkeys(job_ids)
    with Changes(results) as changes:
        yield from _read(results, changes, pending, len(pending))
        channels = {results.key(job_id): job_id for job_id in pending}
        changes.subscribe(channels)
        # Those that ended before the subscription.
        yield from _read(results, changes, pending, len(pending))
        patience = Patience(timeout_s)
        while pending:
            message = changes.wait(patience.remaining_s)
            ended: Iterable[tuple[str, Ended]]
            if message is None:
                ended = _read(results, changes, pending, min(len(pending), _READ_AGAIN))
            else:
                ended = _published(results, pending, channels.get(message[0]), message[1])
            for job_id, outcome in ended:
                changes.unsubscribe(results.key(job_id))
                yield job_id, outcome
                patience.begin()
            if pending and patience.remaining_s <= 0:
                raise _timed_out(results, next(iter(pending)))


def _read(
    results: ResultReader, changes: Changes, pending: dict[str, None], count: int
) -> Iterator[tuple[str, Ended]]:
    """Read the first pending jobs; yield and remove those that have ended; put the others last."""
    for first in range(0, count, _READ_JOBS):
        ids = list(islice(pending, min(_READ_JOBS, count - first)))
        ended = changes.run(partial(ended_among_steps, results, ids))
        for job_id in ids:
            del pending[job_id]
        pending.update(dict.fromkeys(job_id for job_id in ids if job_id not in ended))
        yield from ended.items()


def ended_among_steps(results: ResultSteps, ids: Sequence[str]) -> Steps[dict[str, Ended]]:
    """Return the outcomes of those of these jobs that have ended, and the errors of those that
    ended without one or are not known."""
    ended = yield from results.ready_steps(ids)
    left = [job_id for job_id in ids if job_id not in ended]
    return ended | (yield from _unknown_steps(results, left))


def _unknown_steps(results: ResultSteps, ids: Sequence[str]) -> Steps[dict[str, Ended]]:
    """Return the errors of the jobs of which Redis has no document."""
    if not ids:
        return {}
    keys = [key for job_id in ids for key in results.document_keys(job_id)]
    found = yield ("MGET", *keys)
    errors: dict[str, Ended] = {}
    for job_id, own, shared in zip(ids, found[::2], found[1::2], strict=True):
        if own is None and shared is None:
            try:
                results.require_document(job_id, None)
            except (JobExpired, UnknownJob) as error:
                errors[job_id] = error
    return errors


def _published(
    results: ResultReader, pending: dict[str, None], job_id: str | None, data: bytes
) -> list[tuple[str, Ended]]:
    """Return the job of a published document, and its outcome, if it is one of those that are
    waited for, and has ended."""
    if job_id is None or job_id not in pending:
        return []
    try:
        document = parse_document(job_id, data)
        if not is_final(document):
            return []
        outcome: Ended = outcome_of(job_id, document, results.keyring)
    except JobError as error:
        outcome = error
    del pending[job_id]
    return [(job_id, outcome)]


def _timed_out(results: ResultReader, job_id: str) -> Exception:
    try:
        results.wait(job_id, timeout_s=0)
    except WaitTimeout as error:
        return error
    except JobError as error:
        return WaitTimeout(f"no job ended in time; {error}", job_id)
    return WaitTimeout(f"no job ended in time before job {job_id} did", job_id)
