"""The scorer of a batch of jobs: preprocess, batch the windows of all jobs, predict, join.

Pure computation, without queue, Redis or Celery.
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
    """Scores the texts of many jobs as one. One thread at a time may use it, except `prefetch`.

    Args:
        engine: Computes the probabilities of windows.
        tokenizer: Splits texts into windows.
        limits: The contract's limits.
        batch_tokens: Most tokens of a forward pass.
        labels: The names of the model's labels; None for the model's own.
        window_join: How the windows' probabilities become the text's.
        prefetches: Whether a core is idle while the engine computes, so that the next jobs can
            be preprocessed there.
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
        self._prefetcher = Prefetcher(self._preprocessor.preprocess) if prefetches else None
        self._batcher = Batcher(engine, batch_tokens=batch_tokens)
        self._window_join = window_join
        self._labels = labels or Labels(engine.info.labels)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The keys of each prediction's `scores`, in order."""
        return self._labels.names

    def prefetch(self, jobs: Sequence[Sequence[object]]) -> None:
        """See `Provider.prefetch`."""
        if self._prefetcher is not None:
            self._prefetcher.begin(chain.from_iterable(jobs))

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """Score the texts of each job.

        Returns:
            A list for each job, with one outcome for each text, in order. A text that breaks the
            contract, or that the model cannot score, gets a `TextError` and affects no other. A
            repeated text is scored once and has the same outcome everywhere.

        Raises:
            DeviceLost: This process cannot compute anything any more.
            EngineUnavailable: The engine computes nothing at the moment.
        """
        # A text that is not a string may not be hashable, or may equal another: True is 1.
        keys = [[text if isinstance(text, str) else id(text) for text in job] for job in jobs]
        distinct: dict[object, object] = {}
        for job_keys, job in zip(keys, jobs, strict=True):
            distinct.update(zip(job_keys, job, strict=True))
        texts = [*distinct.values()]
        preprocessor = self._prefetcher or self._preprocessor
        preprocessed = preprocessor.preprocess(texts)
        outcomes = dict(zip(distinct, self._predict(preprocessed), strict=True))
        return [[outcomes[key] for key in job_keys] for job_keys in keys]

    def _predict(self, texts: Sequence[PreprocessedText]) -> list[Outcome]:
        tokenised = [text for text in texts if isinstance(text, TextTokens)]
        windows = [window for text in tokenised for window in text.windows]
        rows = iter(self._batcher.predict(windows))
        return [self._outcome(text, rows) for text in texts]

    def _outcome(self, text: PreprocessedText, rows: Iterator[Row]) -> Outcome:
        """Return the outcome of a text from the next rows, one for each of its windows."""
        if isinstance(text, TextError):
            return text
        window_rows = [next(rows) for _ in text.windows]
        scored: list[list[float]] = []
        for row in window_rows:
            if isinstance(row, TextError):
                return row
            scored.append(row)
        probabilities = join(text, scored, rule=self._window_join)
        return self._labels.prediction(probabilities, tokens=text.tokens, windows=len(scored))
