"""The stock worker of tasks that follow jobs, with OpenTelemetry's instrumentation of Celery.

`python -m tests.support.workers.traced_stock`; it writes its spans as `traced` does.
"""

from __future__ import annotations

from opentelemetry.instrumentation.celery import CeleryInstrumentor

from tests.support.tracing.spans import write_spans
from tests.support.workers.other_app import app

__all__ = ["main"]


def main() -> None:
    """Run it until it is stopped."""
    write_spans()
    CeleryInstrumentor().instrument()
    app.worker_main([*("worker", "-P", "solo", "-l", "INFO")])


if __name__ == "__main__":
    main()
