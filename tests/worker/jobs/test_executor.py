"""The batches in the engine: which computes next, and what one of them does to the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

import pytest
from celery.exceptions import WorkerShutdown

from sentq_worker.engine.base import DeviceLost, EngineUnavailable
from sentq_worker.engine.provider import ProviderJob, ProviderReply, ScoredJob
from sentq_worker.engine.steps import Steps
from sentq_worker.engine.time_slices import TimeSlices
from sentq_worker.jobs.executor import BatchExecutor, BatchFuture
from sentq_worker.settings import WorkerSettings
from tests.support.models.providers import ScriptedJob, ScriptedProvider

#: So small that each step fills a slice.
_TINY_S = 1e-9


@dataclass(eq=False)
class _Batch:
    name: str
    computed_s: float = 0.0
    is_long: bool = False


def _order(slices: TimeSlices[_Batch], batches: list[_Batch], *, steps: int, step_s: float) -> str:
    order = ""
    for _ in range(steps):
        batch = slices.choose(batches)
        slices.charge(batch, step_s, is_alone=len(batches) == 1)
        order += batch.name
    return order


def test_long_batches_take_turns_of_one_slice() -> None:
    batches = [_Batch("a", 9.0, is_long=True), _Batch("b", 1.0, is_long=True)]
    order = _order(TimeSlices(slice_s=1.0), batches, steps=12, step_s=0.25)
    assert order == "aaaabbbbaaaa"


def test_a_new_batch_computes_before_a_long_one() -> None:
    batches = [_Batch("a", 9.0, is_long=True), _Batch("b")]
    order = _order(TimeSlices(slice_s=1.0), batches, steps=10, step_s=0.2)
    assert order == "bbbbbaaaaa", "five steps fill a slice; then the other one gets as much"


def test_a_long_batch_gets_the_time_back_that_a_new_one_took() -> None:
    slices = TimeSlices[_Batch](slice_s=1.0)
    long, new = _Batch("a", 9.0, is_long=True), _Batch("b")
    slices.charge(new, 0.6, is_alone=False)
    assert _order(slices, [long, _Batch("c")], steps=4, step_s=0.25) == "aaac"


def test_a_new_batch_waits_for_one_slice_at_most() -> None:
    slices = TimeSlices[_Batch](slice_s=1.0)
    slices.charge(_Batch("x"), 50.0, is_alone=False)
    long = _Batch("a", 9.0, is_long=True)
    assert _order(slices, [long, _Batch("b")], steps=5, step_s=0.25) == "aaaab"


@dataclass
class _SteppedProvider(ScriptedProvider):
    """Computes as many steps as a job's text says, and records them: `<name> <steps> <end>`."""

    steps: list[str] = field(default_factory=list)
    #: The name of a batch that waits, in its first step, until `proceed` is set.
    waits: str = ""
    begun: Event = field(default_factory=Event)
    proceed: Event = field(default_factory=Event)

    def score_in_steps(self, jobs: Sequence[ProviderJob]) -> Steps[list[ProviderReply]]:
        name, count, *end = str(jobs[0].texts[0]).split()
        for number in range(int(count)):
            self.steps.append(name)
            if number == 0 and name == self.waits:
                self.begun.set()
                assert self.proceed.wait(10)
            yield
        if "lost" in end:
            raise DeviceLost("scripted")
        if "unavailable" in end:
            raise EngineUnavailable("scripted")
        if "fails" in end:
            raise RuntimeError("scripted")
        return [ScoredJob([self.outcome] * len(job.texts), self.info) for job in jobs]


@contextmanager
def _two_batches(
    first: str, second: str
) -> Iterator[tuple[BatchExecutor, _SteppedProvider, BatchFuture, BatchFuture]]:
    """Yield an executor whose first batch is in its first step when the second one comes."""
    provider = _SteppedProvider("local", waits=first.split(maxsplit=1)[0])
    executor = BatchExecutor(WorkerSettings(yield_after_s=_TINY_S), provider)
    try:
        outer = executor.submit([ScriptedJob([first])])
        assert provider.begun.wait(10)
        inner = executor.submit([ScriptedJob([second])])
        yield executor, provider, outer, inner
    finally:
        provider.proceed.set()
        executor.stop()


def test_a_short_batch_ends_before_a_long_one_that_began_earlier() -> None:
    with _two_batches("long 200", "short 1") as (executor, provider, outer, inner):
        provider.proceed.set()
        inner.result(10)
        outer.result(10)
        assert not executor.is_busy
        assert provider.steps.index("short") < 10
        assert outer.slices > 1


def test_the_loop_learns_that_a_batch_computes_for_long() -> None:
    provider = _SteppedProvider("local")
    executor = BatchExecutor(WorkerSettings(yield_after_s=_TINY_S), provider)
    learned = Event()
    try:
        executor.submit([ScriptedJob(["a 3"])], on_slice=learned.set).result(10)
        assert learned.wait(10)
    finally:
        executor.stop()


def test_a_batch_that_fails_affects_no_other() -> None:
    for end, error in (("fails", RuntimeError), ("unavailable", EngineUnavailable)):
        with _two_batches("long 50", f"short 2 {end}") as (executor, provider, outer, inner):
            provider.proceed.set()
            with pytest.raises(error):
                inner.result(10)
            assert len(outer.result(10).replies) == 1
            assert not executor.is_lost


def test_after_the_device_is_lost_no_other_batch_computes() -> None:
    with _two_batches("long 100000", "short 2 lost") as (executor, provider, outer, inner):
        provider.proceed.set()
        with pytest.raises(WorkerShutdown):
            inner.result(10)
        assert executor.is_lost
        assert not executor.is_busy
        # Only the batch that lost the device may be to blame: the other one has no result.
        assert not outer.done()


def test_a_stopped_executor_computes_no_further_step() -> None:
    with _two_batches("long 100000", "short 5") as (executor, provider, outer, inner):
        executor.stop()
        provider.proceed.set()
        executor._thread.shutdown(wait=True)
        assert provider.steps == ["long"]
        assert executor.is_busy, "so the process exits at once, and the jobs go back"
        assert not outer.done()
        assert not inner.done()


def test_an_engine_that_computes_is_not_stalled_and_one_that_hangs_is() -> None:
    with _two_batches("long 1", "short 1") as (executor, provider, outer, inner):
        before_s = executor.stalled_s()
        assert 0 <= before_s < executor.stalled_s()
        provider.proceed.set()
        outer.result(10)
        inner.result(10)
        executor._thread.shutdown(wait=True)
        assert executor.stalled_s() == 0.0


def test_progress_within_a_step_counts() -> None:
    class AsksTheHub(_SteppedProvider):
        progress_at = float("inf")

    provider = AsksTheHub("hub", waits="a")
    executor = BatchExecutor(WorkerSettings(), provider)
    try:
        executor.submit([ScriptedJob(["a 1"])])
        assert provider.begun.wait(10)
        assert executor.stalled_s() < 0
    finally:
        provider.proceed.set()
        executor.stop()
