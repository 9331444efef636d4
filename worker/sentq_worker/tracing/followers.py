"""The trace of what follows a job: its links, the rest of its chain, the body of its chord.

Celery publishes these as it finishes the job. Their messages name the span in which the job was
sent, as those of the job do, so a stock worker continues the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from celery import signals

from sentq.tracing.context import TRACEPARENT, trace_context_in
from sentq.tracing.spans import api, current_headers, remote_span_context

__all__ = ["in_trace_of", "name_traces"]

T = TypeVar("T")


def in_trace_of(headers: Mapping[str, Any], call: Callable[[], T]) -> T:
    """Call a function within the trace in which a message was sent, and return what it returns.

    Args:
        headers: The headers of the message.
        call: The function.
    """
    module = api()
    sent = None if module is None else trace_context_in(headers)
    if module is None or sent is None:
        return call()
    span = module.NonRecordingSpan(remote_span_context(module, sent))
    with module.use_span(span, record_exception=False, set_status_on_exception=False):
        return call()


def name_traces() -> None:
    """Have the messages that Celery publishes in this process name the current span."""
    signals.before_task_publish.connect(
        _add_headers, weak=False, dispatch_uid="sentq_worker.tracing"
    )


def _add_headers(headers: dict[str, Any] | None = None, **_: object) -> None:
    # Not if a sender, or OpenTelemetry's own instrumentation, has named a span.
    if headers is not None and TRACEPARENT not in headers:
        headers.update(current_headers())
