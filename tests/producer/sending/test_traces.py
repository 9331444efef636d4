"""Spans of the client: what they tell, what messages say of them, and what they cost without
OpenTelemetry."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sentq import AsyncClient, Client, errors
from tests.support.processes import RedisProcess
from tests.support.tracing.spans import not_sampled, recorded_spans


@pytest.fixture(autouse=True)
def spans() -> Iterator[InMemorySpanExporter]:
    """The spans of this process."""
    with recorded_spans() as spans:
        yield spans


def _sends(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name.startswith("send ")]


def _headers(redis: RedisProcess, queue: str = "sentq") -> list[dict[str, Any]]:
    """Return the headers of the queued messages, the oldest first."""
    with redis.client() as client:
        return [json.loads(raw)["headers"] for raw in client.lrange(queue, 0, -1)[::-1]]


def _parent_of(span: ReadableSpan) -> str:
    context = span.context
    ids = f"{context.trace_id:032x}-{context.span_id:016x}"
    return f"00-{ids}-{context.trace_flags:02x}"


def test_one_call_is_one_span_that_all_of_its_messages_name(
    sender: Client, redis_server: RedisProcess, spans: InMemorySpanExporter
) -> None:
    with trace.get_tracer("test").start_as_current_span("request") as request:
        sender.submit_many([["one"], ["two"], ["three"]])
    (span,) = _sends(spans)
    assert (span.name, span.kind) == ("send sentq", SpanKind.PRODUCER)
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id
    assert dict(span.attributes or {}) == {
        "messaging.system": "redis",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "sentq",
        "messaging.batch.message_count": 3,
    }
    assert [each["traceparent"] for each in _headers(redis_server)] == 3 * [_parent_of(span)]


def test_the_client_for_asyncio_records_the_same_span(
    redis_server: RedisProcess, spans: InMemorySpanExporter
) -> None:
    async def submit() -> str:
        async with AsyncClient(broker_url=redis_server.url) as client:
            with trace.get_tracer("test").start_as_current_span("request"):
                return (await client.submit("one", bulk=True)).id

    job_id = asyncio.run(submit())
    (span,) = _sends(spans)
    assert (span.name, (span.attributes or {})["messaging.message.id"]) == (
        "send sentq.bulk",
        job_id,
    )
    (headers,) = _headers(redis_server, "sentq.bulk")
    assert headers["traceparent"] == _parent_of(span)


def test_what_other_tracing_systems_have_added_is_passed_on(
    client: Client, redis_server: RedisProcess
) -> None:
    # As a stranger may have written it: with placeholders of the client's message template.
    state = trace.TraceState([("vendor", "@sentq:body@ @sentq:id@")])
    context = trace.SpanContext(
        1, 2, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=state
    )
    with trace.use_span(trace.NonRecordingSpan(context)):
        client.submit("one")
    (headers,) = _headers(redis_server)
    assert headers["tracestate"] == "vendor=@sentq:body@ @sentq:id@"


def test_a_span_that_is_not_recorded_is_named_as_such(
    client: Client, redis_server: RedisProcess, spans: InMemorySpanExporter
) -> None:
    with not_sampled():
        client.submit("one")
    assert _sends(spans) == []
    (headers,) = _headers(redis_server)
    assert headers["traceparent"].endswith("-00")


def test_a_span_of_jobs_that_were_not_sent_has_the_class_of_the_error_alone(
    redis_server: RedisProcess, spans: InMemorySpanExporter
) -> None:
    with Client(broker_url=redis_server.url, max_queued_jobs=1) as client:
        client.submit("one")
        with pytest.raises(errors.QueueFull):
            client.submit("two")
    span = _sends(spans)[-1]
    assert (span.attributes or {})["error.type"] == "QueueFull"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert span.events == ()


@pytest.fixture
def _instrumented(spans: InMemorySpanExporter) -> Iterator[None]:
    instrumentor = CeleryInstrumentor()
    instrumentor.instrument(tracer_provider=trace.get_tracer_provider())
    yield
    instrumentor.uninstrument()


@pytest.mark.usefixtures("_instrumented")
def test_the_instrumentation_of_celery_does_not_make_the_client_slow(
    client: Client, redis_server: RedisProcess, spans: InMemorySpanExporter
) -> None:
    client.submit_many([["one"], ["two"]])
    # Celery's own publishing would have recorded a span for each job.
    names = [span.name for span in spans.get_finished_spans()]
    assert names == ["send sentq"]
    assert len(_headers(redis_server)) == 2


def test_without_opentelemetry_jobs_are_sent_as_before(
    redis_server: RedisProcess,
) -> None:
    program = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None  # As if it were not installed.\n"
        "from sentq import Client\n"
        f"with Client(broker_url={redis_server.url!r}) as client:\n"
        "    client.submit('one')\n"
        "sys.exit(any(name.startswith('opentelemetry.') for name in sys.modules))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    (headers,) = _headers(redis_server)
    assert "traceparent" not in headers


def test_without_an_sdk_no_span_is_named(redis_server: RedisProcess) -> None:
    """redis-py loads OpenTelemetry's API wherever it is installed."""
    program = (
        "import opentelemetry.trace\n"
        "from sentq import Client\n"
        f"with Client(broker_url={redis_server.url!r}) as client:\n"
        "    client.submit('one')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    (headers,) = _headers(redis_server)
    assert "traceparent" not in headers
