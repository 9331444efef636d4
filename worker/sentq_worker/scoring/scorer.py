"""The scorer of a batch of jobs: preprocess, batch the windows of all jobs, predict, join.

Pure computation, without queue, Redis or Celery.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import chain
from typing import Final

from sentq.contract import Limits, Outcome, TextError, TextPart
from sentq.errors import OverLimit, TooManyTokens
from sentq_worker.engine.base import Engine
from sentq_worker.engine.counts import EngineCounts
from sentq_worker.engine.provider import JobOutcomes
from sentq_worker.engine.steps import Steps, run_steps
from sentq_worker.scoring.batcher import Batcher, Row
from sentq_worker.scoring.labels import Labels
from sentq_worker.scoring.language_rule import LanguageRule
from sentq_worker.scoring.parts import is_text, text_chars
from sentq_worker.scoring.prefetch import Prefetcher
from sentq_worker.scoring.preprocess import PreprocessedText, Preprocessor
from sentq_worker.scoring.windows import TextTokenizer, TextTokens, join
from sentq_worker.settings import Cleaning, JoinRule
from sentq_worker.tracing.batches import ENGINE, READ, begin_part

__all__ = ["EngineScorer", "slices"]

#: The most characters that are tokenised in one step, beyond a first text. A megabyte of them
#: takes up to two seconds.
_SLICE_CHARS: Final = 100_000


class EngineScorer:
    """Scores the texts of many jobs as one. One thread at a time may use it, except `prefetch`.

    Args:
        engine: Computes the probabilities of windows.
        tokenizer: Splits texts into windows.
        limits: The contract's limits.
        batch_tokens: Most tokens of a forward pass.
        labels: The names of the model's labels; None for the model's own.
        window_join: How the windows' probabilities become the text's.
        clean: What is left out of texts.
        tokens_per_job: The most tokens of one job; None for no limit.
        prefetches: Whether a core is idle while the engine computes, so that the next jobs can
            be preprocessed there.
        languages: Examines the languages of texts; None if no languages are detected.
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
        clean: Cleaning = "none",
        tokens_per_job: int | None = None,
        prefetches: bool = False,
        languages: LanguageRule | None = None,
    ) -> None:
        self.engine = engine
        self._languages = languages
        self._preprocessor = Preprocessor(tokenizer, limits, languages, clean=clean)
        self._prefetcher = Prefetcher(self._preprocessor.preprocess) if prefetches else None
        self._batcher = Batcher(engine, batch_tokens=batch_tokens)
        self._window_join = window_join
        self._tokens_per_job = tokens_per_job
        self._labels = labels or Labels(engine.info.labels)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The keys of each prediction's `scores`, in order."""
        return self._labels.names

    @property
    def counts(self) -> EngineCounts:
        """See `SupportsCounts`."""
        return EngineCounts(tokens=Counter(self._batcher.tokens))

    def without_routes(self) -> EngineScorer:
        """See `SupportsRoutes`. What the engine reads for it is counted here."""
        if self._languages is None:
            return self
        scorer = copy(self)
        scorer._preprocessor = self._preprocessor.with_languages(self._languages.without_routes())  # noqa: SLF001
        scorer._prefetcher = None  # noqa: SLF001 - it prepares texts by the other rule
        return scorer

    def prefetch(self, jobs: Sequence[Sequence[object]]) -> None:
        """See `Provider.prefetch`.

        A job of more than one slice is not prefetched. The texts of other jobs would wait for it,
        and it gains nothing: it takes far longer to score than to tokenise.
        """
        if self._prefetcher is not None:
            small = [job for job in jobs if _chars(job) <= _SLICE_CHARS]
            self._prefetcher.begin(chain.from_iterable(small))

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """Score the texts of each job.

        Returns:
            A list for each job, with one outcome for each text, in order. A text that breaks the
            contract, or that the model cannot score, gets a `TextError` and affects no other. A
            repeated text is scored once and has the same outcome everywhere.

        Raises:
            TooManyTokens: One of the jobs has too many tokens.
            DeviceLost: This process cannot compute anything any more.
            EngineUnavailable: The engine computes nothing at the moment.
        """
        scored = run_steps(self.score_in_steps(jobs))
        for outcomes in scored:
            if isinstance(outcomes, OverLimit):
                raise outcomes
        return [outcomes for outcomes in scored if not isinstance(outcomes, OverLimit)]

    def score_in_steps(self, jobs: Sequence[Sequence[object]]) -> Steps[list[JobOutcomes]]:
        """Score the texts of each job as `score` does, with a pause after each step.

        Returns:
            A list of outcomes for each job, or TooManyTokens.
        """
        # A text that is not a string may not be hashable, or may equal another: True is 1.
        keys = [[text if is_text(text) else id(text) for text in job] for job in jobs]
        distinct: dict[object, object] = {}
        for job_keys, job in zip(keys, jobs, strict=True):
            distinct.update(zip(job_keys, job, strict=True))
        begin_part(READ)
        preprocessor = self._prefetcher or self._preprocessor
        found: list[PreprocessedText] = []
        for texts in slices([*distinct.values()]):
            found += preprocessor.preprocess(texts)
            yield
        preprocessed = dict(zip(distinct, found, strict=True))
        refused = self._refused(keys, preprocessed)
        if refused:
            wanted = {
                key for n, job_keys in enumerate(keys) if n not in refused for key in job_keys
            }
            preprocessed = {key: text for key, text in preprocessed.items() if key in wanted}
        begin_part(ENGINE)
        scored = yield from self._predict([*preprocessed.values()])
        outcomes = dict(zip(preprocessed, scored, strict=True))
        return [
            refused.get(n) or [outcomes[key] for key in job_keys] for n, job_keys in enumerate(keys)
        ]

    def _refused(
        self, keys: Sequence[Sequence[object]], texts: Mapping[object, PreprocessedText]
    ) -> dict[int, TooManyTokens]:
        """Return the jobs, by position, that have too many tokens in different texts."""
        limit = self._tokens_per_job
        if limit is None or sum(map(_tokens, texts.values())) <= limit:
            return {}
        tokens = [sum(_tokens(texts[key]) for key in {*job_keys}) for job_keys in keys]
        return {
            n: TooManyTokens(f"{count:,} tokens; the limit is {limit:,} a job")
            for n, count in enumerate(tokens)
            if count > limit
        }

    def _predict(self, texts: Sequence[PreprocessedText]) -> Steps[list[Outcome]]:
        tokenised = [text for text in texts if isinstance(text, TextTokens)]
        windows = [window for text in tokenised for window in text.all_windows]
        rows = iter((yield from self._batcher.predict_in_steps(windows)))
        return [self._outcome(text, rows) for text in texts]

    def _outcome(self, text: PreprocessedText, rows: Iterator[Row]) -> Outcome:
        """Return the outcome of a text from the next rows, one for each of its windows, and of
        those of its parts. An error of one of them is that of the text."""
        if isinstance(text, TextError):
            return text
        scored: list[list[float]] = []
        error: TextError | None = None
        for row in [next(rows) for _ in text.all_windows]:
            if isinstance(row, TextError):
                error = error or row
            else:
                scored.append(row)
        if error is not None:
            return error
        windows, parts = len(text.windows), None
        probabilities = self._join(text, scored[:windows])
        if text.parts is not None:
            parts = self._parts(text, scored[:windows], iter(scored[windows:]))
        return self._labels.prediction(
            probabilities,
            tokens=text.tokens,
            windows=windows,
            language=text.language,
            parts=parts,
        )

    def _join(self, text: TextTokens, rows: Sequence[list[float]]) -> list[float]:
        return join(text, rows, rule=self._window_join, sentiment=self._labels.sentiment)

    def _parts(
        self, text: TextTokens, rows: Sequence[list[float]], more: Iterator[list[float]]
    ) -> list[TextPart]:
        """Return the parts of a text that has some.

        Args:
            text: The text.
            rows: The probabilities of its windows.
            more: Those of the windows of its parts, in order.
        """
        found: list[TextPart] = []
        for part in text.parts or ():
            if part.tokens is not None:
                own = [next(more) for _ in part.tokens.windows]
                probabilities = self._join(part.tokens, own)
            else:
                some = part.windows or slice(None)
                probabilities = self._join(replace(text, windows=text.windows[some]), rows[some])
            found.append(self._labels.part(probabilities, start=part.start, end=part.end))
        return found


def _chars(texts: Sequence[object]) -> int:
    return sum(map(text_chars, texts))


def slices(texts: Sequence[object]) -> Iterator[Sequence[object]]:
    """Split texts into parts of few characters, in order: what is tokenised in one step.

    A part has as many texts as fit, and at least one. No texts are one part without any.
    """
    start, chars = 0, 0
    for end, text in enumerate(texts):
        chars += text_chars(text)
        if chars > _SLICE_CHARS and end > start:
            yield texts[start:end]
            start, chars = end, text_chars(text)
    yield texts[start:]


def _tokens(text: PreprocessedText) -> int:
    return text.tokens if isinstance(text, TextTokens) else 0
