"""What spans cost a sender: the client in a span beside the plain one, and stock Celery with
OpenTelemetry's instrumentation beside stock Celery.

    python -m benchmarks.clients.traces [--json] [--jobs N] [--turns N]

A turn sends so many jobs with one call (`submit_many`); the ways take turns, in another order each
time. A ratio is the median of the ratios of single turns, so what slows down the machine for a
while does not count. Stock Celery sends the same jobs one by one (`send_task`), in every tenth
turn. Spans go through the SDK's BatchSpanProcessor into memory. The plain client is measured in the
same process: for its turns `opentelemetry.trace` is taken from `sys.modules`, where the client
looks for it.
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from typing import Final

from celery import Celery
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks.figures import argument_parser, show
from benchmarks.queue import Bench
from tests.support.celery.site import stock_app

__all__ = ["measure"]

_TURNS_PER_STOCK_TURN: Final = 10

_TEXT: Final = "A hundred characters of plain English, as a short review of a film may be written."


@contextmanager
def _without_opentelemetry() -> Iterator[None]:
    module = sys.modules.pop("opentelemetry.trace")
    try:
        yield
    finally:
        sys.modules["opentelemetry.trace"] = module


@contextmanager
def _instrumented() -> Iterator[None]:
    instrumentor = CeleryInstrumentor()
    instrumentor.instrument(tracer_provider=trace.get_tracer_provider())
    try:
        with trace.get_tracer("benchmark").start_as_current_span("request"):
            yield
    finally:
        instrumentor.uninstrument()


class _Ways:
    """The ways to send jobs. Each returns the time that it took, in seconds."""

    def __init__(self, bench: Bench, stock: Celery) -> None:
        self._submit = bench.client.submit_many
        self._send_task = stock.send_task
        self.sentq: dict[str, Callable[[Sequence[str]], float]] = {
            "plain": self._plain,
            "in_span": self._in_span,
            "instrumented": self._instrumented,
        }
        self.stock: dict[str, Callable[[Sequence[str]], float]] = {
            "stock_plain": self._stock_jobs,
            "stock_instrumented": self._stock_instrumented,
        }

    def _plain(self, texts: Sequence[str]) -> float:
        with _without_opentelemetry():
            return _timed(lambda: self._submit(texts))

    def _in_span(self, texts: Sequence[str]) -> float:
        with trace.get_tracer("benchmark").start_as_current_span("request"):
            return _timed(lambda: self._submit(texts))

    def _instrumented(self, texts: Sequence[str]) -> float:
        """The client of an application whose own tasks are instrumented."""
        with _instrumented():
            return _timed(lambda: self._submit(texts))

    def _stock_jobs(self, texts: Sequence[str]) -> float:
        return _timed(lambda: [self._send(text) for text in texts])

    def _stock_instrumented(self, texts: Sequence[str]) -> float:
        with _instrumented():
            return self._stock_jobs(texts)

    def _send(self, text: str) -> object:
        return self._send_task("sentq.score", args=[[text]], queue="sentq", ignore_result=True)


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure(*, jobs: int, turns: int) -> dict[str, object]:
    """Run all measurements once, and return the figures."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    texts = [f"{_TEXT} {n}" for n in range(jobs)]
    times_s: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            with stock_app(bench.redis.url) as stock:
                ways = _Ways(bench, stock)
                for way in (ways.sentq | ways.stock).values():  # Warm up.
                    way(texts)
                orders = [*permutations(ways.sentq.items())]
                for turn in range(turns):
                    order = orders[turn % len(orders)]
                    others = () if turn % _TURNS_PER_STOCK_TURN else ways.stock.items()
                    for name, way in (*order, *others):
                        bench.empty()
                        gc.collect()
                        times_s.setdefault(name, []).append(way(texts))
                    spans.clear()
        finally:
            bench.close()
            provider.shutdown()
    return {
        "turns": turns,
        "jobs_per_turn": jobs,
        **{f"{name}_ms": round(statistics.median(t) * 1000, 2) for name, t in times_s.items()},
        "in_span_ratio": _ratio(times_s["in_span"], times_s["plain"]),
        "instrumented_ratio": _ratio(times_s["instrumented"], times_s["plain"]),
        "stock_ratio": _ratio(times_s["stock_instrumented"], times_s["stock_plain"]),
    }


def _ratio(times_s: Sequence[float], others_s: Sequence[float]) -> float:
    pairs = zip(times_s, others_s, strict=True)
    return round(statistics.median(time_s / other_s for time_s, other_s in pairs), 3)


def main() -> None:
    """Measure, and print the figures."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--jobs", type=int, default=500, help="jobs of a turn (%(default)s)")
    add("--turns", type=int, default=101, help="turns of each way (%(default)s)")
    options = parser.parse_args()
    show(measure(jobs=options.jobs, turns=options.turns), as_json=options.json)


if __name__ == "__main__":
    main()
