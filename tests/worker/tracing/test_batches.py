"""The spans of batches: links, parents, parts, and what they say of senders."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sentq.tracing.context import TraceContext
from sentq_worker.tracing.batches import BatchTracer, begin_part, traced_steps
from tests.support.tracing.spans import recorded_spans


@dataclass
class SentJob:
    """A job as a span shows it."""

    id: str
    trace_context: TraceContext | None = None
    queue: str = "sentq"


def _sent_in(trace_number: int, span_number: int = 1, *, is_sampled: bool = True) -> TraceContext:
    return TraceContext(f"{trace_number:032x}", f"{span_number:016x}", is_sampled)


@pytest.fixture(autouse=True)
def recorded() -> Iterator[InMemorySpanExporter]:
    """The spans of this process."""
    with recorded_spans() as spans:
        yield spans


@pytest.fixture
def tracer() -> BatchTracer:
    return BatchTracer("redis", lambda: ("sentq", "sentq.bulk"))


Finished = Callable[[], list[ReadableSpan]]


@pytest.fixture
def finished(recorded: InMemorySpanExporter) -> Finished:
    return lambda: list(recorded.get_finished_spans())


def test_a_batch_of_several_senders_has_links_and_no_parent(
    tracer: BatchTracer, finished: Finished
) -> None:
    jobs = [SentJob("a", _sent_in(1)), SentJob("b", _sent_in(2)), SentJob("c")]
    batch = tracer.begin(jobs)
    assert batch is not None
    batch.end()
    (span,) = finished()
    assert (span.name, span.kind, span.parent) == ("process sentq", SpanKind.CONSUMER, None)
    found = [(link.context.trace_id, dict(link.attributes or {})) for link in span.links]
    assert found == [(1, {"messaging.message.id": "a"}), (2, {"messaging.message.id": "b"})]
    assert (span.attributes or {})["messaging.batch.message_count"] == 3


def test_a_batch_of_one_call_is_in_the_trace_of_that_call(
    tracer: BatchTracer, finished: Finished
) -> None:
    batch = tracer.begin([SentJob("a", _sent_in(5, 6)), SentJob("b", _sent_in(5, 6))])
    assert batch is not None
    batch.end()
    (span,) = finished()
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id, len(span.links)) == (5, 6, 2)


def test_a_batch_of_senders_that_record_nothing_is_not_recorded(
    tracer: BatchTracer, finished: Finished
) -> None:
    ignored = _sent_in(1, is_sampled=False)
    assert tracer.begin([SentJob("a", ignored), SentJob("b", ignored)]) is None
    batch = tracer.begin([SentJob("a", ignored), SentJob("b", _sent_in(2))])
    assert batch is not None
    batch.end()
    (span,) = finished()
    assert [link.context.trace_id for link in span.links] == [2]


def test_a_process_that_has_only_loaded_opentelemetry_records_nothing(
    tracer: BatchTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    assert tracer.begin([SentJob("a", _sent_in(1))]) is None


def test_a_batch_of_more_than_128_jobs_has_further_spans(
    tracer: BatchTracer, finished: Finished
) -> None:
    batch = tracer.begin([SentJob(f"job {n}", _sent_in(n + 1)) for n in range(300)])
    assert batch is not None
    batch.end()
    spans = finished()
    assert [len(span.links) for span in spans] == [128, 128, 44]
    counts = [(span.attributes or {})["messaging.batch.message_count"] for span in spans]
    assert counts == [128, 128, 44]
    linked = {(link.attributes or {})["messaging.message.id"] for s in spans for link in s.links}
    assert len(linked) == 300


def test_a_queue_that_only_a_message_names_is_in_no_span(
    tracer: BatchTracer, finished: Finished
) -> None:
    for queues in (("x" * 1000,), ("sentq", "sentq.bulk")):
        batch = tracer.begin([SentJob("a", queue=queue) for queue in queues])
        assert batch is not None
        batch.end()
    for span in finished():
        assert span.name == "process sentq"
        assert "messaging.destination.name" not in (span.attributes or {})


def test_an_id_that_a_sender_chose_is_cut(tracer: BatchTracer, finished: Finished) -> None:
    batch = tracer.begin([SentJob("i" * 100_000, _sent_in(1))])
    assert batch is not None
    batch.end()
    ((link,),) = [span.links for span in finished()]
    assert (link.attributes or {})["messaging.message.id"] == "i" * 64


def test_steps_are_computed_in_the_span_and_its_parts(
    tracer: BatchTracer, finished: Finished
) -> None:
    current: list[int] = []

    def compute() -> Generator[None, None, str]:
        begin_part("read texts")
        current.append(trace.get_current_span().get_span_context().span_id)
        yield
        begin_part("run engine")
        yield
        return "done"

    batch = tracer.begin([SentJob("a")])
    steps = traced_steps(batch, compute())
    assert batch is not None
    next(steps)
    assert not trace.get_current_span().get_span_context().is_valid
    next(steps)
    with pytest.raises(StopIteration) as stopped:
        next(steps)
    assert stopped.value.value == "done"
    batch.begin_part("store outcomes")
    batch.end()
    read, engine, store, process = finished()
    assert [each.name for each in (read, engine, store)] == [
        "read texts",
        "run engine",
        "store outcomes",
    ]
    assert current == [process.context.span_id]
    assert {each.parent and each.parent.span_id for each in (read, engine, store)} == {*current}
    assert read.end_time is not None
    assert engine.start_time is not None
    assert read.end_time <= engine.start_time


def test_an_error_is_told_by_its_class(tracer: BatchTracer, finished: Finished) -> None:
    def compute() -> Generator[None, None, str]:
        yield
        raise ValueError("CANARY")

    batch = tracer.begin([SentJob("a")])
    steps = traced_steps(batch, compute())
    next(steps)
    with pytest.raises(ValueError, match="CANARY"):
        next(steps)
    assert batch is not None
    batch.end()
    for span in finished():
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "ValueError"
        assert "CANARY" not in span.to_json()


def test_steps_of_a_batch_that_is_not_recorded_are_the_steps_themselves(finished: Finished) -> None:
    def compute() -> Generator[None, None, str]:
        begin_part("read texts")
        yield
        return "done"

    steps = compute()
    assert traced_steps(None, steps) is steps
    assert list(steps) == [None]
    assert finished() == []
