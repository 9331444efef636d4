"""Reading ahead: the texts of the next round are read while the engine computes this one.

A thread of its own does it, on a core that is idle meanwhile. It is a help and no more: what was
not read ahead is read when it is wanted, and what was read in vain is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from sentq_worker.scoring.preprocess import PreprocessedText

__all__ = ["Prefetcher"]

#: Readings that are kept: for the round that starts now, and for the next. Those before were of
#: jobs that went to another worker, or that nobody waits for any more.
_KEPT: Final = 2


class _Reading(NamedTuple):
    texts: frozenset[str]
    found: Future[dict[str, PreprocessedText]]


class Prefetcher:
    """Reads texts before they are wanted. One thread begins readings, another reads.

    Args:
        read: Reads texts, in order. Called by both threads.
    """

    def __init__(self, read: Callable[[Sequence[object]], list[PreprocessedText]]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sentq-ahead")
        self._readings: deque[_Reading] = deque(maxlen=_KEPT)

    def begin(self, texts: Iterable[object]) -> None:
        """Read these, as far as they are strings. Returns at once."""
        begun = [reading.texts for reading in self._readings.copy()]
        new = frozenset(text for text in texts if isinstance(text, str)).difference(*begun)
        if new:
            self._readings.append(_Reading(new, self._thread.submit(self._begin, [*new])))

    def read(self, texts: Sequence[object]) -> list[PreprocessedText]:
        """Read texts, in order; those that were begun are taken from there. Each once."""
        known = self._take({text for text in texts if isinstance(text, str)})
        rest = iter(self._read([text for text in texts if not _is_in(known, text)]))
        return [known[str(text)] if _is_in(known, text) else next(rest) for text in texts]

    def _begin(self, texts: list[str]) -> dict[str, PreprocessedText]:
        return dict(zip(texts, self._read(texts), strict=True))

    def _take(self, wanted: set[str]) -> dict[str, PreprocessedText]:
        taken: dict[str, PreprocessedText] = {}
        for reading in self._readings.copy():
            here = wanted & reading.texts
            # Waits, if it is going on: to read the same once more would take longer.
            if here and reading.found.exception() is None:
                found = reading.found.result()
                taken.update((text, found.pop(text)) for text in here if text in found)
                wanted -= here
        return taken


def _is_in(known: dict[str, PreprocessedText], text: object) -> bool:
    return isinstance(text, str) and text in known
