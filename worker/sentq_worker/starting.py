"""What makes a worker start faster."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["without_garbage_collection"]


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
