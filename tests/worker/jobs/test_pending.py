"""Which of the pending jobs make a batch, alone and beside batches that compute for long."""

from __future__ import annotations

from sentq.contract import DELIVERIES_HEADER
from sentq_worker.jobs.ack_handles import RedisAck
from sentq_worker.jobs.in_flight import InFlightJob
from sentq_worker.jobs.pending import PendingJobs


def _pending(*jobs: InFlightJob) -> PendingJobs:
    pending = PendingJobs(batch_chars=800, bulk_queue="sentq.bulk")
    for job in jobs:
        pending.add(job)
    return pending


def _job(name: str, *, chars: int = 10, queue: str = "sentq", lost: int = 0) -> InFlightJob:
    headers = {DELIVERIES_HEADER: lost} if lost else {}
    return InFlightJob(name, ["x" * chars], headers, {"routing_key": queue}, RedisAck(name))


def _ids(jobs: list[InFlightJob]) -> str:
    return "".join(job.id for job in jobs)


def test_small_and_large_jobs_do_not_share_a_batch() -> None:
    pending = _pending(_job("a"), _job("b"), _job("c", chars=300), _job("d", chars=300), _job("e"))
    assert [_ids(pending.next_batch()) for _ in range(4)] == ["ab", "cd", "e", ""]


def test_beside_a_long_batch_single_jobs_pass_bulk_work() -> None:
    pending = _pending(
        _job("a", queue="sentq.bulk"), _job("b", queue="sentq.bulk", chars=300), _job("c")
    )
    assert _ids(pending.next_batch_beside(with_bulk=False)) == "c"
    assert _ids(pending.next_batch_beside(with_bulk=False)) == ""
    assert _ids(pending.next_batch_beside(with_bulk=True)) == "a"
    assert _ids(pending.next_batch()) == "b"


def test_beside_a_long_batch_no_suspect_runs() -> None:
    pending = _pending(_job("a", lost=2), _job("b"), _job("c", lost=2), _job("d"))
    assert _ids(pending.next_batch_beside(with_bulk=True)) == "b"
    assert _ids(pending.next_batch_beside(with_bulk=True)) == "d"
    assert [_ids(pending.next_batch()) for _ in range(3)] == ["a", "c", ""]


def test_a_job_that_is_due_again_may_start_beside_a_long_batch() -> None:
    pending = _pending()
    pending.add_later(_job("a"), 0.0)
    pending.add_later(_job("b"), 60.0)
    assert _ids(pending.next_batch_beside(with_bulk=False)) == "a"
    assert len(pending) == 1
