"""Python's garbage collector: when it runs, and the memory that it frees.

    without_garbage_collection    while modules are imported and the model is loaded: not at all
    tune_garbage_collector        for plain jobs: they leave no garbage, so it runs seldom
    free_released                 after a roll, whose models do not live as long as the process
    CelerysGarbage                for messages that go through Celery: it runs by their size

Python counts objects and not their bytes, so its own limits do not bound the last kind.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["CelerysGarbage", "tune_garbage_collector", "without_garbage_collection"]

#: Celery's errors leave cycles that hold the message, and the positions of each instruction of the
#: functions in the traceback. Python counts objects and not their bytes, and positions not at all:
#: 1,500 hostile messages took 180 MB before it collected them. A collection takes some 2 ms.
_COLLECT_AFTER_BYTES: Final = 2 * 1024 * 1024
_BYTES_OF_AN_ERROR: Final = 64 * 1024

#: The C library keeps what was freed between blocks in use: 30 MiB after 10,000 hostile messages.
#: To return it takes some milliseconds, so that is done after so many collections.
_COLLECTIONS_PER_RETURN: Final = 8


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Do not collect garbage in the block. Imports make a million objects that stay, and Python
    would look through all of them again and again, for a tenth of the time of the imports."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def tune_garbage_collector() -> None:
    """Let Python's garbage collector skip the objects that live as long as the process (the
    model, the libraries), and run less often: plain jobs leave no cycles. It took a fifth of the
    worker's time on small jobs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 5)


def free_released() -> None:
    """Return the memory of models that were released to the system. They were among the objects
    that the collector skips."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    _malloc_trim()()


class CelerysGarbage:
    """Frees what messages leave behind that go through Celery."""

    def __init__(self) -> None:
        self._uncollected_bytes = 0
        self._collections = 0
        self._return_memory = _malloc_trim()

    def add(self, size_bytes: int) -> None:
        """Count a message of so many bytes. After some of them garbage is collected, and after
        many the memory that this frees is returned to the system."""
        self._uncollected_bytes += size_bytes + _BYTES_OF_AN_ERROR
        if self._uncollected_bytes < _COLLECT_AFTER_BYTES:
            return
        self._uncollected_bytes = 0
        gc.collect()
        self._collections += 1
        if self._collections % _COLLECTIONS_PER_RETURN == 0:
            self._return_memory()


def _malloc_trim() -> Callable[[], object]:
    """Return what makes the C library return memory. Only that of GNU has such a function."""
    import ctypes  # Not needed to start: `sentq-worker health` imports this module too.

    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda: None
    trim.argtypes = [ctypes.c_size_t]
    return lambda: trim(0)
