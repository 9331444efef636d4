"""The spans of this process in memory, and those that traced workers have written into a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

__all__ = [
    "SPANS_FILE",
    "WrittenSpan",
    "not_sampled",
    "read_spans",
    "recorded_spans",
    "write_spans",
]

#: The variable that names the file of a traced worker.
SPANS_FILE: Final = "TRACED_SPANS"


@contextmanager
def recorded_spans() -> Iterator[InMemorySpanExporter]:
    """Record the spans of this process for the time of the block; other tests record none."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    # A process can set its provider once, and never take it back.
    trace._TRACER_PROVIDER = provider
    try:
        yield spans
    finally:
        trace._TRACER_PROVIDER = None


@contextmanager
def not_sampled() -> Iterator[None]:
    """Make a span current that is not recorded, as a sampler decides for most requests."""
    ids = trace.SpanContext(
        int.from_bytes(os.urandom(16)), int.from_bytes(os.urandom(8)), is_remote=False
    )
    with trace.use_span(trace.NonRecordingSpan(ids)):
        yield


def write_spans() -> None:
    """Have this process append its spans to the file that `TRACED_SPANS` names."""
    provider = TracerProvider()
    file = Path(os.environ[SPANS_FILE]).open("a", encoding="utf-8")  # noqa: SIM115 - until it ends
    lines = ConsoleSpanExporter(out=file, formatter=lambda span: f"{span.to_json(indent=None)}\n")
    provider.add_span_processor(SimpleSpanProcessor(lines))
    trace.set_tracer_provider(provider)


@dataclass(frozen=True)
class WrittenSpan:
    """A span as a traced worker wrote it. Ids are hexadecimal digits."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    attributes: dict[str, Any]
    #: Trace id, span id, attributes.
    links: list[tuple[str, str, dict[str, Any]]]
    status: str


def read_spans(file: Path) -> list[WrittenSpan]:
    """Return the spans that are in a file so far."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    return [_read(json.loads(line)) for line in lines if line.endswith("\n")]


def _read(span: dict[str, Any]) -> WrittenSpan:
    parent = span["parent_id"]
    return WrittenSpan(
        span["name"],
        _digits(span["context"]["trace_id"]),
        _digits(span["context"]["span_id"]),
        None if parent is None else _digits(parent),
        span["attributes"],
        [
            (
                _digits(link["context"]["trace_id"]),
                _digits(link["context"]["span_id"]),
                cast("dict[str, Any]", link["attributes"]),
            )
            for link in span["links"]
        ],
        span["status"]["status_code"],
    )


def _digits(number: str) -> str:
    return number.removeprefix("0x")
