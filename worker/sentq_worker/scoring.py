"""Jobs in, outcomes out: check, tokenise, batch across all jobs in hand, predict, join.

Pure computation: knows no queue, no Redis and no Celery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sentq.contract import ErrorCode, Limits, Outcome, TextError, check_text
from sentq_worker.batcher import Batcher, Row
from sentq_worker.engine.base import Engine, Window
from sentq_worker.labels import Labels
from sentq_worker.text import JoinRule, TextTokenizer, TextTokens, join

__all__ = ["Scorer", "problem_of"]


class Scorer:
    """Scores the texts of many jobs as one. Used by one thread at a time."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: TextTokenizer,
        *,
        limits: Limits,
        batch_tokens: int,
        labels: Labels | None = None,
        window_join: JoinRule = "mean",
    ) -> None:
        self.engine = engine
        self._tokenizer = tokenizer
        self._limits = limits
        self._batcher = Batcher(engine, batch_tokens=batch_tokens)
        self._window_join = window_join
        self._labels = labels or Labels(engine.info.labels)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The keys of each prediction's `scores`, in their order."""
        return self._labels.names

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """Score the texts of each job.

        Returns:
            A list a job, in it one outcome a text, in order. A text that breaks the contract,
            or that the model cannot take, ends in a `TextError` and affects no other. The same
            text is scored once and has the same outcome everywhere.

        Raises:
            DeviceLost, EngineUnavailable: No text is to blame, and none has an outcome.
        """
        distinct: dict[object, _Text] = {}
        jobs_texts = [[self._text(text, distinct) for text in job] for job in jobs]
        texts = [*distinct.values()]
        self._tokenise(texts)
        self._predict(texts)
        for text in texts:
            text.outcome = self._outcome(text)
        return [[text.outcome for text in job_texts] for job_texts in jobs_texts]

    def _text(self, text: object, distinct: dict[object, _Text]) -> _Text:
        # What is no string may not be hashable, or equal something else: True is 1.
        key = text if isinstance(text, str) else id(text)
        if key not in distinct:
            distinct[key] = _checked(text, self._limits)
        return distinct[key]

    def _tokenise(self, texts: list[_Text]) -> None:
        sound = [text for text in texts if text.problem is None]
        for text, tokens in zip(
            sound, self._tokenise_each([text.text for text in sound]), strict=True
        ):
            if isinstance(tokens, TextError):
                text.problem = tokens
            elif tokens.tokens == 0:
                text.problem = _EMPTY
            else:
                text.tokens = tokens

    def _tokenise_each(self, texts: list[str]) -> Sequence[TextTokens | TextError]:
        try:
            return self._tokenizer.tokenise(texts)
        except Exception:  # noqa: BLE001 - one text fails the whole call; find it
            if len(texts) <= 1:
                return [_UNREADABLE] * len(texts)
            half = len(texts) // 2
            return [*self._tokenise_each(texts[:half]), *self._tokenise_each(texts[half:])]

    def _predict(self, texts: list[_Text]) -> None:
        readable = [text for text in texts if text.tokens is not None]
        windows = [window for text in readable for window in text.windows]
        rows = iter(self._batcher.predict(windows))
        for text in readable:
            text.rows = [next(rows) for _ in text.windows]

    def _outcome(self, text: _Text) -> Outcome:
        if text.tokens is None:
            return text.problem or _UNREADABLE
        rows: list[list[float]] = []
        for row in text.rows:
            if isinstance(row, TextError):
                return row
            rows.append(row)
        probabilities = join(text.tokens, rows, rule=self._window_join)
        return self._labels.prediction(probabilities, tokens=text.tokens.tokens, windows=len(rows))


@dataclass(slots=True)
class _Text:
    """One text on its way to its outcome."""

    text: str
    problem: TextError | None = None
    tokens: TextTokens | None = None
    rows: Sequence[Row] = ()
    outcome: Outcome = field(init=False)

    @property
    def windows(self) -> Sequence[Window]:
        return () if self.tokens is None else self.tokens.windows


def problem_of(text: object, limits: Limits) -> TextError | None:
    """What is wrong with a text before any model looks at it, if anything is."""
    problem = check_text(text, limits)
    is_empty = problem is None and isinstance(text, str) and not text.strip()
    return _EMPTY if is_empty else problem


def _checked(text: object, limits: Limits) -> _Text:
    return _Text(text if isinstance(text, str) else "", problem_of(text, limits))


_EMPTY = TextError(code=ErrorCode.EMPTY_TEXT, message="there is nothing to score in this text")
_UNREADABLE = TextError(
    code=ErrorCode.INFERENCE_FAILED, message="the tokenizer failed on this text, also alone"
)
