"""The counts of a worker as fields of the history."""

from __future__ import annotations

from itertools import pairwise

from sentq.wire.history.slots import TEXTS_FIELD, jobs_field, seconds_field
from sentq_worker.monitoring.job_counts import SECONDS, JobCountsReading

__all__ = ["history_totals"]

#: The bounds of the buckets of durations, each with the one below it.
_BUCKETS = tuple(pairwise((0.0, *SECONDS, float("inf"))))


def history_totals(counts: JobCountsReading) -> dict[str, int]:
    """Return counts since the worker started, by field of the history."""
    totals = {TEXTS_FIELD: sum(counts.texts.values())}
    for (queue, end), jobs in counts.jobs.items():
        totals[jobs_field(end, queue)] = jobs
    for queue, seconds in counts.job_seconds.items():
        for (above_s, upto_s), (before, upto) in zip(
            _BUCKETS, pairwise((0, *seconds.counts)), strict=True
        ):
            totals[seconds_field(above_s, upto_s, queue)] = upto - before
    return totals
