"""`sentq-worker` in a process that records spans: `python -m tests.support.workers.traced`.

It writes them, one on each line, into the file that `TRACED_SPANS` names.
"""

from __future__ import annotations

from sentq_worker.__main__ import main as run
from tests.support.tracing.spans import write_spans

__all__ = ["main"]


def main() -> None:
    """Run it until it is stopped."""
    write_spans()
    run()


if __name__ == "__main__":
    main()
