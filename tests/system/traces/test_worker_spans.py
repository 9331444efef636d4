"""A worker that records spans, senders that do, and stock Celery with its own instrumentation."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sentq import Client, errors
from tests.corpus.canary import traces
from tests.corpus.expected import CANARY
from tests.support.celery.site import stock_app
from tests.support.missing import redis_program
from tests.support.processes import (
    RedisProcess,
    WorkerProcess,
    eventually,
    worker_environment,
)
from tests.support.roles.users import without_user
from tests.support.tracing.spans import (
    SPANS_FILE,
    WrittenSpan,
    not_sampled,
    read_spans,
    recorded_spans,
)

SENDERS: Final = 20
JOBS_PER_SENDER: Final = 50

#: The parts of a batch that its span has as children.
PARTS: Final = {"read texts", "run engine", "store outcomes"}


@dataclass
class TracedSite:
    """A Redis and a traced worker."""

    redis: RedisProcess
    worker: WorkerProcess
    spans_file: Path
    client: Client

    @property
    def spans(self) -> list[WrittenSpan]:
        """The worker's spans so far."""
        return read_spans(self.spans_file)

    def links(self) -> Counter[str]:
        """How often each job is linked."""
        return Counter(
            attributes["messaging.message.id"]
            for span in self.spans
            for _, _, attributes in span.links
        )


@pytest.fixture(autouse=True)
def spans() -> Iterator[InMemorySpanExporter]:
    """The spans of this process."""
    with recorded_spans() as spans:
        yield spans


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[TracedSite]:
    folder = tmp_path_factory.mktemp("traced")
    with ExitStack() as stack:
        server = RedisProcess(redis_program(), folder).start()
        stack.callback(server.stop)
        file = folder / "spans"
        environment = worker_environment(server.url, tiny_model) | {SPANS_FILE: str(file)}
        command = ("tests.support.workers.traced", "--loglevel", "debug", "--log-format", "json")
        worker = WorkerProcess(folder, environment, command)
        stack.callback(worker.stop)
        worker.wait_until_ready()
        client = stack.enter_context(Client(broker_url=server.url))
        yield TracedSite(server, worker, file, client)


@dataclass
class _Sent:
    """What the senders of a test have sent: job ids, by whether they were sampled."""

    ids: dict[bool, list[str]] = field(default_factory=lambda: defaultdict(list))

    def send(self, client: Client, sender: int) -> None:
        """Send the jobs of one sender, in five calls; every other sender is not sampled."""
        is_sampled = sender % 2 == 0
        tracer = trace.get_tracer("test")
        context = tracer.start_as_current_span("request") if is_sampled else not_sampled()
        with context:
            for call in range(5):
                texts = [f"{CANARY} {sender} {call} {n}" for n in range(JOBS_PER_SENDER // 5)]
                self.ids[is_sampled] += [job.id for job in client.submit_many(texts)]


def test_each_sampled_job_of_many_senders_is_linked_exactly_once(
    site: TracedSite, spans: InMemorySpanExporter
) -> None:
    sent = _Sent()
    threads = [threading.Thread(target=sent.send, args=(site.client, n)) for n in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent.ids[True]) == len(sent.ids[False]) == SENDERS * JOBS_PER_SENDER // 2
    for _ in site.client.results([*sent.ids[True], *sent.ids[False]], timeout=60):
        pass
    eventually(lambda: len(site.links()) >= len(sent.ids[True]), what="all spans")

    assert site.links() == Counter(sent.ids[True])
    batches = [span for span in site.spans if span.name == "process sentq"]
    assert max(len(span.links) for span in batches) <= 128
    assert max(len({trace_id for trace_id, _, _ in span.links}) for span in batches) > 1
    sends = [span for span in spans.get_finished_spans() if span.name == "send sentq"]
    sent_in = {(f"{s.context.trace_id:032x}", f"{s.context.span_id:016x}") for s in sends}
    assert {(link[0], link[1]) for span in batches for link in span.links} == sent_in
    for span in batches:
        assert {each.name for each in site.spans if each.parent_id == span.span_id} == PARTS

    whole = "\n".join([site.spans_file.read_text(), *(span.to_json() for span in sends)])
    assert traces(whole) == []
    assert traces(site.worker.log) == []


def test_a_job_alone_continues_the_trace_of_its_sender(
    site: TracedSite, spans: InMemorySpanExporter
) -> None:
    with trace.get_tracer("test").start_as_current_span("request") as request:
        job = site.client.submit(f"{CANARY} alone")
    job.result(timeout=60)
    (send,) = (span for span in spans.get_finished_spans() if span.name == "send sentq")
    eventually(lambda: site.links()[job.id], what="the span of the batch")
    (process,) = [
        span for span in site.spans if any(job.id in link[2].values() for link in span.links)
    ]
    assert process.trace_id == f"{request.get_span_context().trace_id:032x}"
    assert process.parent_id == f"{send.context.span_id:016x}"
    assert process.attributes == {
        "messaging.system": "redis",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "sentq",
        "messaging.batch.message_count": 1,
    }
    assert f'"trace_ids": ["{process.trace_id}"]' in site.worker.log


@pytest.mark.slow
def test_stock_workers_with_their_own_instrumentation_are_in_the_same_trace(
    site: TracedSite, tmp_path: Path
) -> None:
    """A stock sender, a job, and what follows it in a stock worker."""
    stock_spans = tmp_path / "stock-spans"
    url = without_user(site.redis.url)
    follower = WorkerProcess(
        tmp_path,
        {"FOLLOWUP_URL": url, SPANS_FILE: str(stock_spans)},
        ("tests.support.workers.traced_stock",),
    )
    instrumentor = CeleryInstrumentor()
    instrumentor.instrument(tracer_provider=trace.get_tracer_provider())
    try:
        follower.wait_until_ready()
        with stock_app(site.redis.url) as stock:
            link = stock.signature("followup.save", queue="followup")
            with trace.get_tracer("test").start_as_current_span("request") as request:
                job = stock.send_task(
                    "sentq.score", args=[[f"{CANARY} linked"]], queue="sentq", link=link
                )
            job.get(timeout=60)
        trace_id = f"{request.get_span_context().trace_id:032x}"
        eventually(lambda: read_spans(stock_spans), what="the span of the stock worker")
    finally:
        instrumentor.uninstrument()
        follower.stop()
    assert [span.trace_id for span in read_spans(stock_spans)] == [trace_id]
    (process,) = [
        span for span in site.spans if any(job.id in link[2].values() for link in span.links)
    ]
    assert process.trace_id == trace_id
    assert traces(stock_spans.read_text() + site.spans_file.read_text()) == []


@pytest.mark.slow
def test_the_callback_of_a_batch_is_in_the_trace_of_its_sender(
    site: TracedSite,
) -> None:
    with stock_app(site.redis.url) as stock:
        then = stock.signature("followup.count", queue="followup-later", immutable=True)
        with trace.get_tracer("test").start_as_current_span("request") as request:
            site.client.batch(["one", "two"], then=then).wait(timeout=60)
    with site.redis.client() as redis:
        eventually(lambda: redis.llen("followup-later"), what="the callback")
        message = redis.lindex("followup-later", 0)
    trace_id = f"{request.get_span_context().trace_id:032x}"
    assert f'"traceparent": "00-{trace_id}-'.encode() in bytes(message or b"")


@pytest.mark.slow
def test_a_batch_that_fails_tells_the_class_of_its_error_alone(
    tmp_path: Path, own_redis: RedisProcess
) -> None:
    file = tmp_path / "spans"
    environment = {"SENTQ_BROKER_URL": own_redis.url, SPANS_FILE: str(file)}
    worker = WorkerProcess(tmp_path, environment, ("tests.support.workers.raising",))
    try:
        worker.wait_until_ready()
        with Client(broker_url=own_redis.url) as client:
            job = client.submit(f"{CANARY} raise")
            with pytest.raises(errors.JobFailed):
                job.result(timeout=60)
        spans = eventually(
            lambda: [s for s in read_spans(file) if s.name == "process sentq"], what="its span"
        )
    finally:
        worker.stop()
    assert [(span.status, span.attributes["error.type"]) for span in spans] == [
        ("ERROR", "ValueError")
    ]
    assert traces(file.read_text()) == []
