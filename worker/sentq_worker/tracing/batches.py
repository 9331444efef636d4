"""The span of a batch of jobs, and its parts.

    process sentq       one for each batch, with a link to the span in which each job was sent
      read texts        texts become tokens
      run engine        the model computes
      store outcomes    until Redis has them

A batch has jobs of many senders, so its span has links in place of a parent. If all of its jobs
were sent in one span, that is its parent too, and one trace shows all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from sentq.tracing.context import TraceContext
from sentq.tracing.spans import attributes_of, recording_api, remote_span_context, tracer

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span

__all__ = [
    "ENGINE",
    "READ",
    "STORE",
    "BatchTrace",
    "BatchTracer",
    "TracedJob",
    "begin_part",
    "traced_steps",
]

T = TypeVar("T")

#: The parts of a batch.
READ: Final = "read texts"
ENGINE: Final = "run engine"
STORE: Final = "store outcomes"

#: The most links of a span; the SDK's own default. A batch of more jobs has further spans.
_MAX_LINKS: Final = 128

#: The most characters of a job's id in a link. A sender chooses it.
_MAX_ID_CHARS: Final = 64

#: The span of a batch whose queue the worker does not read, or that has jobs of several queues.
_SEVERAL_QUEUES: Final = "process sentq"


class TracedJob(Protocol):
    """What a span tells of a job."""

    id: str

    @property
    def queue(self) -> str:
        """The queue that it came through, as its message says."""

    @property
    def trace_context(self) -> TraceContext | None:
        """The span in which it was sent, if its headers tell."""


class BatchTracer:
    """Begins the spans of batches.

    Args:
        system: The broker, as `sentq.tracing.spans.messaging_system` names it.
        queues: Returns the names of the worker's queues. Others are not named in spans.
    """

    def __init__(self, system: str, queues: Callable[[], Collection[str]]) -> None:
        self._system = system
        self._queues = queues

    def begin(self, jobs: Sequence[TracedJob]) -> BatchTrace | None:
        """Begin the span of a batch; None if none is to be recorded: this process does not record
        spans, or the senders of all jobs use OpenTelemetry and record nothing."""
        module = recording_api()
        if module is None:
            return None
        contexts = [job.trace_context for job in jobs]
        links = [
            module.Link(
                remote_span_context(module, context),
                {"messaging.message.id": job.id[:_MAX_ID_CHARS]},
            )
            for job, context in zip(jobs, contexts, strict=True)
            if context is not None and context.is_sampled
        ]
        if not links and None not in contexts:
            return None
        first, *others = [
            links[start : start + _MAX_LINKS] for start in range(0, len(links), _MAX_LINKS)
        ] or [[]]
        parent = _common_parent(module, contexts)
        linked_elsewhere = sum(map(len, others))
        main = self._span(module, jobs, len(jobs) - linked_elsewhere, first, parent)
        further = [self._span(module, jobs, len(some), some, parent) for some in others]
        return BatchTrace(module, main, further)

    def _span(
        self,
        module: Any,
        jobs: Sequence[TracedJob],
        count: int,
        links: Sequence[Link],
        parent: Context,
    ) -> Span:
        queue = self._queue_of(jobs)
        attributes = attributes_of("process", system=self._system, queue=queue, jobs=count)
        span: Span = tracer(module).start_span(
            _SEVERAL_QUEUES if queue is None else f"process {queue}",
            context=parent,
            kind=module.SpanKind.CONSUMER,
            attributes=attributes,
            links=links,
        )
        return span

    def _queue_of(self, jobs: Sequence[TracedJob]) -> str | None:
        """Return the queue of all jobs, if it is one that the worker reads."""
        named = {job.queue for job in jobs}
        return named.pop() if len(named) == 1 and named <= {*self._queues()} else None


class BatchTrace:
    """The span of a batch that is in the engine or being stored. One thread at a time uses it.

    Args:
        module: `opentelemetry.trace`.
        span: The span, which has the parts.
        further: Spans of more links.
    """

    def __init__(self, module: Any, span: Span, further: Sequence[Span]) -> None:
        self._module = module
        self._span = span
        self._further = further
        self._context: Context = module.set_span_in_context(span)
        self._part: Span | None = None

    def begin_part(self, name: str, *, at_ns: int | None = None) -> None:
        """Begin a part, and end the one before.

        Args:
            name: What is done.
            at_ns: Since when, in Unix nanoseconds; None for now.
        """
        self._end_part()
        self._part = tracer(self._module).start_span(name, context=self._context, start_time=at_ns)

    def end(self) -> None:
        """End the span."""
        self._end_part()
        for span in (self._span, *self._further):
            span.end()

    def steps(self, steps: Generator[None, None, T]) -> Generator[None, None, T]:
        """Compute the steps of a batch; each of them in its span."""
        while True:
            began_at_ns = time.time_ns()
            try:
                with self._active():
                    next(steps)
            except StopIteration as stop:
                self._begin_engine(began_at_ns)
                self._end_part()
                value: T = stop.value
                return value
            except BaseException as error:
                self._begin_engine(began_at_ns)
                self._set_error(type(error).__name__)
                self._end_part()
                raise
            self._begin_engine(began_at_ns)
            yield

    def _begin_engine(self, at_ns: int) -> None:
        """Begin this part, unless the first step has begun its own."""
        if self._part is None:
            self.begin_part(ENGINE, at_ns=at_ns)

    @contextmanager
    def _active(self) -> Iterator[None]:
        token = _computed.set(self)
        try:
            with self._module.use_span(
                self._span, record_exception=False, set_status_on_exception=False
            ):
                yield
        finally:
            _computed.reset(token)

    def _set_error(self, error: str) -> None:
        # The class alone: its message may quote a text.
        for span in (self._part, self._span, *self._further):
            if span is not None:
                span.set_attribute("error.type", error)
                span.set_status(self._module.StatusCode.ERROR)

    def _end_part(self) -> None:
        if self._part is not None:
            self._part.end()
            self._part = None


#: The batch that this thread computes now.
_computed: ContextVar[BatchTrace | None] = ContextVar("sentq_computed_batch", default=None)


def begin_part(name: str) -> None:
    """Begin a part of the batch that this thread computes now, if that is traced."""
    trace = _computed.get()
    if trace is not None:
        trace.begin_part(name)


def traced_steps(
    trace: BatchTrace | None, steps: Generator[None, None, T]
) -> Generator[None, None, T]:
    """Return the steps of a batch, in its span if it has one."""
    return steps if trace is None else trace.steps(steps)


def _common_parent(module: Any, contexts: Sequence[TraceContext | None]) -> Context:
    """Return the span in which all jobs were sent; an empty context if there are several."""
    from opentelemetry.context import Context

    first = contexts[0]
    if first is None or any(context != first for context in contexts):
        return Context()
    sent_in = module.NonRecordingSpan(remote_span_context(module, first))
    parent: Context = module.set_span_in_context(sent_in, Context())
    return parent
