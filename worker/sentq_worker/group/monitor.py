"""Asks the processes of a group how they are, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from sentq_worker.group.child import Child
from sentq_worker.group.pages import answers

__all__ = ["GroupMonitor"]

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 2.0

#: How often in a row a process may give no answer. Each takes two seconds, and as long to ask
#: again. A process whose engine or loop stands still ends itself, unless all of its threads do.
_MAX_SILENT: Final = 15


class GroupMonitor(threading.Thread):
    """Keeps the states of the processes, and kills one whose threads all stand still.

    Args:
        children: All processes.
        asking: Held while the children are asked.
    """

    def __init__(self, children: Sequence[Child], asking: threading.Lock) -> None:
        super().__init__(name="sentq-group", daemon=True)
        self._children = children
        self._asking = asking
        self._stopped = threading.Event()
        self._were_ready = 0

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()

    def run(self) -> None:
        """Ask until it is stopped."""
        while not self._stopped.wait(_INTERVAL_S):
            self._ask()

    def _ask(self) -> None:
        running = {each: each.running for each in self._children if each.running}
        with self._asking:
            pages = answers({each.label: one for each, one in running.items()}, "/readyz")
        for child, process in running.items():
            page = pages[child.label]
            if page is not None:
                process.note(page.body.decode(), is_ready=page.status == HTTPStatus.OK)
                child.was_ready |= process.was_ready
            elif process.note_silence() == _MAX_SILENT:
                logger.critical(
                    "process %s has not answered %d times: it is killed, and its jobs are "
                    "delivered again when their leases expire",
                    child.label,
                    _MAX_SILENT,
                )
                process.kill()
        self._tell()

    def _tell(self) -> None:
        """Log when all processes take jobs, and when that begins again."""
        ready = sum(each.running is not None and each.running.is_ready for each in self._children)
        if ready == len(self._children) != self._were_ready:
            logger.info("all %d processes are ready", ready)
        self._were_ready = ready
