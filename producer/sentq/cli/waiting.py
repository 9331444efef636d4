"""Say what `sentq score` waits for, so that it is not silent if no outcome arrives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from sentq.errors import BrokerUnavailable, SettingsError
from sentq.rendering import printable
from sentq.results.backlog import Backlog

__all__ = ["WaitNotices"]

#: When the first notice is due, and the next ones. The first one is read and printed within two
#: seconds after the command began to wait.
_FIRST_AFTER_S: Final = 1.0
_NEXT_AFTER_S: Final = 15.0


class WaitNotices:
    """Prints notices, from a thread of its own, for as long as no outcome arrives.

    Args:
        read: Reads what waits. It may raise what `Client.backlog` does.
        say: Prints one line.
    """

    def __init__(self, read: Callable[[], Backlog], say: Callable[[str], None]) -> None:
        self._read = read
        self._say = say
        self._texts = 0
        self._outcomes = 0
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sentq-notices", daemon=True)

    def add_text(self) -> None:
        """Record that a text was read. Without one, the command waits for its input."""
        self._texts += 1

    def add_outcome(self) -> None:
        """Record that an outcome has arrived: the next notice is due later."""
        self._outcomes += 1

    def _watch(self) -> None:
        pause_s = _FIRST_AFTER_S
        while True:
            before = self._outcomes
            if self._has_ended.wait(pause_s):
                return
            if self._outcomes == before < self._texts:
                self._tell()
            pause_s = _NEXT_AFTER_S

    def _tell(self) -> None:
        try:
            notice = _notice(self._read())
        except BrokerUnavailable:
            notice = "Redis does not answer"
        except SettingsError:
            return  # A broker that is not Redis cannot be asked.
        if not self._has_ended.is_set():
            self._say(f"waiting: {notice}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._has_ended.set()


def _notice(backlog: Backlog) -> str:
    queued = f"{backlog.total_jobs:,} job{'' if backlog.total_jobs == 1 else 's'} queued"
    if not backlog.workers:
        queues = " or ".join(backlog.waiting_jobs)
        return f"no worker reports that it reads {queues} ({queued}); sentq-worker starts one"
    reasons = {report.waiting_for for report in backlog.workers}
    if None not in reasons:
        reason = "; ".join(sorted(filter(None, reasons)))
        return f"no worker can score at the moment ({queued}): {printable(reason)}"
    if not backlog.total_jobs:
        count = len(backlog.workers)
        return f"{queued}, {count} worker{'s read' if count > 1 else ' reads'} the queues"
    if backlog.wait_s is None:
        return f"{queued}; no worker has reported yet how fast it is"
    return f"{queued}, about {max(1, round(backlog.wait_s)):,} s"
