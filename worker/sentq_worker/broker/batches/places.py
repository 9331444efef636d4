"""Which of the jobs that are stored belong to batches, as the scripts are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sentq.connection.app import key_with_result_prefix
from sentq.wire.batches import COMPLETE_BATCHES_KEY, BatchPlace, batch_key

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["Counted", "batch_keys", "counted"]


class Counted(NamedTuple):
    """What a script is told of the jobs that it counts.

    Attributes:
        batches: How many batches they belong to.
        keys: The keys of these, and of the batches whose callback is to be published; none if no
            job belongs to a batch.
        arguments: As the header of `store_results` says.
    """

    batches: int = 0
    keys: Sequence[bytes] = ()
    arguments: Sequence[int] = ()


def batch_keys(app: Celery, batch_ids: Iterable[str]) -> list[bytes]:
    """Return the keys of batches, and then that of the batches whose callback is to be
    published."""
    names = [*map(batch_key, batch_ids), COMPLETE_BATCHES_KEY]
    return [key_with_result_prefix(app, name) for name in names]


def counted(app: Celery, job_ids: Iterable[str], places: Mapping[str, BatchPlace]) -> Counted:
    """Return what the script is told.

    Args:
        app: The app of the results.
        job_ids: The ids of all jobs that are stored, in the order of their documents.
        places: The places of those that belong to batches, by job id.
    """
    numbers: dict[str, int] = {}
    triples: list[int] = []
    for document, job_id in enumerate(job_ids, 1):
        if (found := places.get(job_id)) is not None:
            number = numbers.setdefault(found.batch_id, len(numbers) + 1)
            triples += [document, number, found.place]
    if not numbers:
        return Counted()
    return Counted(len(numbers), batch_keys(app, numbers), triples)
