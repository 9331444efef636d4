"""Jobs in, outcomes out: read, batch across all jobs in hand, predict, join.

Pure computation: knows no queue, no Redis and no Celery.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from sentq.contract import Limits, Outcome, TextError
from sentq_worker.engine.base import Engine
from sentq_worker.scoring.batcher import Batcher, Row
from sentq_worker.scoring.labels import Labels
from sentq_worker.scoring.prefetch import Prefetcher
from sentq_worker.scoring.preprocess import PreprocessedText, Preprocessor
from sentq_worker.scoring.windows import TextTokenizer, TextTokens, join
from sentq_worker.settings import JoinRule

__all__ = ["Scorer"]


class Scorer:
    """Scores the texts of many jobs as one. Used by one thread at a time, but for `prefetch`.

    Args:
        reads_ahead: Whether a core is idle while the engine computes, so that the next jobs can
            be read there.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: TextTokenizer,
        *,
        limits: Limits,
        batch_tokens: int,
        labels: Labels | None = None,
        window_join: JoinRule = "mean",
        prefetches: bool = False,
    ) -> None:
        self.engine = engine
        self._preprocessor = Preprocessor(tokenizer, limits)
        self._prefetcher = Prefetcher(self._preprocessor.read) if prefetches else None
        self._batcher = Batcher(engine, batch_tokens=batch_tokens)
        self._window_join = window_join
        self._labels = labels or Labels(engine.info.labels)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The keys of each prediction's `scores`, in their order."""
        return self._labels.names

    def prefetch(self, jobs: Sequence[Sequence[object]]) -> None:
        """See `Provider.prefetch`."""
        if self._prefetcher is not None:
            self._prefetcher.begin(chain.from_iterable(jobs))

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """Score the texts of each job.

        Returns:
            A list a job, in it one outcome a text, in order. A text that breaks the contract,
            or that the model cannot take, ends in a `TextError` and affects no other. The same
            text is scored once and has the same outcome everywhere.

        Raises:
            DeviceLost, EngineUnavailable: No text is to blame, and none has an outcome.
        """
        # What is no string may not be hashable, or equal something else: True is 1.
        keys = [[text if isinstance(text, str) else id(text) for text in job] for job in jobs]
        distinct: dict[object, object] = {}
        for job_keys, job in zip(keys, jobs, strict=True):
            distinct.update(zip(job_keys, job, strict=True))
        texts = [*distinct.values()]
        read = (
            self._preprocessor.read(texts)
            if self._prefetcher is None
            else self._prefetcher.read(texts)
        )
        outcomes = dict(zip(distinct, self._predict(read), strict=True))
        return [[outcomes[key] for key in job_keys] for job_keys in keys]

    def _predict(self, texts: Sequence[PreprocessedText]) -> list[Outcome]:
        readable = [text for text in texts if isinstance(text, TextTokens)]
        rows = iter(self._batcher.predict([window for text in readable for window in text.windows]))
        return [self._outcome(text, rows) for text in texts]

    def _outcome(self, text: PreprocessedText, rows: Iterator[Row]) -> Outcome:
        """The outcome of a text, from the next rows, a row a window."""
        if isinstance(text, TextError):
            return text
        of_windows = [next(rows) for _ in text.windows]
        scored: list[list[float]] = []
        for row in of_windows:
            if isinstance(row, TextError):
                return row
            scored.append(row)
        probabilities = join(text, scored, rule=self._window_join)
        return self._labels.prediction(probabilities, tokens=text.tokens, windows=len(scored))
