"""Prefetching: the texts of the next batch of jobs are preprocessed while the engine computes.

A thread does this on a core that is otherwise idle. It changes no outcome: a text that was not
prefetched is preprocessed on demand, and an unused prefetched text is discarded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from sentq_worker.scoring.preprocess import PreprocessedText

__all__ = ["Prefetcher"]

#: How many prefetches are kept: one for the batch that starts now, and one for the next. Texts of
#: earlier ones belong to jobs that went to another worker, or expired.
_KEPT: Final = 2


class _Prefetch(NamedTuple):
    texts: frozenset[str]
    found: Future[dict[str, PreprocessedText]]


class Prefetcher:
    """Preprocesses texts in advance. One thread may call `begin`, and another `preprocess`.

    Args:
        preprocess: Preprocesses texts, in order. Both threads call it.
    """

    def __init__(self, preprocess: Callable[[Sequence[object]], list[PreprocessedText]]) -> None:
        self._preprocess = preprocess
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sentq-prefetch")
        self._prefetches: deque[_Prefetch] = deque(maxlen=_KEPT)

    def begin(self, texts: Iterable[object]) -> None:
        """Begin to preprocess those of the texts that are strings. Returns at once."""
        begun = [prefetch.texts for prefetch in self._prefetches.copy()]
        new = frozenset(text for text in texts if isinstance(text, str)).difference(*begun)
        if new:
            self._prefetches.append(_Prefetch(new, self._thread.submit(self._by_text, [*new])))

    def preprocess(self, texts: Sequence[object]) -> list[PreprocessedText]:
        """Preprocess texts, in order. A prefetched text is returned once and then forgotten."""
        known = self._take({text for text in texts if isinstance(text, str)})
        rest = iter(self._preprocess([text for text in texts if not _is_in(known, text)]))
        return [known[str(text)] if _is_in(known, text) else next(rest) for text in texts]

    def _by_text(self, texts: list[str]) -> dict[str, PreprocessedText]:
        return dict(zip(texts, self._preprocess(texts), strict=True))

    def _take(self, wanted: set[str]) -> dict[str, PreprocessedText]:
        taken: dict[str, PreprocessedText] = {}
        for prefetch in self._prefetches.copy():
            here = wanted & prefetch.texts
            # Waits for a prefetch that runs: to preprocess its texts again would take longer.
            if here and prefetch.found.exception() is None:
                found = prefetch.found.result()
                taken.update((text, found.pop(text)) for text in here if text in found)
                wanted -= here
        return taken


def _is_in(known: dict[str, PreprocessedText], text: object) -> bool:
    return isinstance(text, str) and text in known
