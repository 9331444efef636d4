"""Spans of OpenTelemetry: what client and worker share, and the client's own span.

An application that records spans has imported `opentelemetry`. So nothing is imported here: as
long as that module is not loaded there are no spans, and nothing is done.

Attributes follow OpenTelemetry's conventions for messaging. No attribute has a text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from sentq.tracing.context import TRACEPARENT, TRACESTATE, TraceContext
from sentq.version import VERSION

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.trace import Span, SpanContext

__all__ = [
    "SendSpan",
    "api",
    "attributes_of",
    "context_headers",
    "current_headers",
    "current_ids",
    "is_tracing_receiver",
    "messaging_system",
    "recording_api",
    "remote_span_context",
    "send_span",
    "tracer",
]

#: Other tracing systems may add as much, by the W3C's recommendation.
_MAX_STATE_CHARS: Final = 512

#: Where the receivers of Celery's signals stand with which OpenTelemetry traces stock Celery.
_STOCK_INSTRUMENTATION: Final = "opentelemetry.instrumentation."


def api() -> Any | None:
    """Return the module `opentelemetry.trace` if this process has loaded it."""
    module = sys.modules.get("opentelemetry.trace")
    # Another thread may be importing it: the last of its names tells.
    return module if hasattr(module, "use_span") else None


def recording_api() -> Any | None:
    """Return the module as `api` does; None also if this process has set no provider of spans. Then
    OpenTelemetry was only loaded, as redis-py does where it is installed, and records nothing."""
    module = api()
    if module is None or isinstance(module.get_tracer_provider(), module.ProxyTracerProvider):
        return None
    return module


def tracer(module: Any) -> trace.Tracer:
    """Return the tracer of sentq."""
    return cast("trace.Tracer", module.get_tracer("sentq", VERSION))


def messaging_system(broker_url: str) -> str:
    """Return how the conventions name the broker with this URL."""
    scheme = broker_url.partition("://")[0]
    return "rabbitmq" if "amqp" in scheme else "redis"


def attributes_of(
    operation: str, *, system: str, queue: str | None, jobs: int
) -> dict[str, str | int]:
    """Return the attributes of the span of an operation on messages.

    Args:
        operation: What is done: `send` or `process`.
        system: The broker, as `messaging_system` names it.
        queue: The queue; None if there are several.
        jobs: The number of messages.
    """
    named = {} if queue is None else {"messaging.destination.name": queue}
    return {
        "messaging.system": system,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.batch.message_count": jobs,
        **named,
    }


def context_headers(context: SpanContext) -> dict[str, str]:
    """Return the headers of a message that is sent in a span; none if there is no span."""
    if not context.is_valid:
        return {}
    ids = f"{context.trace_id:032x}-{context.span_id:016x}"
    headers = {TRACEPARENT: f"00-{ids}-{context.trace_flags:02x}"}
    state = context.trace_state.to_header()
    if state and len(state) <= _MAX_STATE_CHARS:
        headers[TRACESTATE] = state
    return headers


def current_headers() -> dict[str, str]:
    """Return the headers of a message that is sent now; none if there is no span."""
    module = api()
    if module is None:
        return {}
    return context_headers(module.get_current_span().get_span_context())


def current_ids() -> Mapping[str, str]:
    """Return the ids of the current span as fields of a log line; none if there is no span."""
    module = api()
    context = None if module is None else module.get_current_span().get_span_context()
    if context is None or not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def remote_span_context(module: Any, sent: TraceContext) -> SpanContext:
    """Return OpenTelemetry's form of the span in which a message was sent.

    Args:
        module: What `api` returned.
        sent: The span, as the message names it.
    """
    state = module.TraceState.from_header([sent.state]) if sent.state else None
    return cast(
        "SpanContext",
        module.SpanContext(
            int(sent.trace_id, 16),
            int(sent.span_id, 16),
            is_remote=True,
            trace_flags=module.TraceFlags(int(sent.is_sampled)),
            trace_state=state,
        ),
    )


def is_tracing_receiver(receiver: object) -> bool:
    """Return whether a receiver of Celery's signals is that of OpenTelemetry's instrumentation."""
    module = getattr(receiver, "__module__", None)
    return isinstance(module, str) and module.startswith(_STOCK_INSTRUMENTATION)


class SendSpan:
    """The span of one call that sends jobs.

    Attributes:
        headers: What the messages say of it. Empty without OpenTelemetry.
    """

    def __init__(self, span: Span | None = None) -> None:
        self._span = span
        self.headers = {} if span is None else context_headers(span.get_span_context())

    def sent(self, job_ids: Sequence[str]) -> None:
        """Record that these jobs were sent."""
        if self._span is not None and len(job_ids) == 1:
            self._span.set_attribute("messaging.message.id", job_ids[0])


#: Without OpenTelemetry.
_NO_SPAN: Final = SendSpan()


@contextmanager
def send_span(
    queue: str, *, system: str, jobs: int, batch_id: str | None = None
) -> Iterator[SendSpan]:
    """Record a span of sending jobs, for the time of the block. It is not the current one.

    Args:
        queue: The queue of the jobs.
        system: The broker, as `messaging_system` names it.
        jobs: How many there are.
        batch_id: The batch to which they belong, if they do.
    """
    module = api()
    if module is None:
        yield _NO_SPAN
        return
    attributes = attributes_of("send", system=system, queue=queue, jobs=jobs)
    if batch_id is not None:
        attributes["messaging.message.conversation_id"] = batch_id
    kind = module.SpanKind.PRODUCER
    span = tracer(module).start_span(f"send {queue}", kind=kind, attributes=attributes)
    try:
        yield SendSpan(span)
    except BaseException as error:
        # Not its message: that may name hosts and queues.
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(module.StatusCode.ERROR)
        raise
    finally:
        span.end()
