"""The Hub as a provider of jobs: check the texts, split them into windows, score, join.

The last check before texts are sent to a third party: a job whose texts must stay on this machine
is rejected here under any policy.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from sentq.contract import MAIN_MODEL, ErrorCode, Limits, Outcome, TextError, TextPart
from sentq_worker.engine.base import EngineInfo, EngineUnavailable, ModelUnavailable
from sentq_worker.engine.counts import EngineCounts
from sentq_worker.engine.provider import BreakerStates, ProviderJob, ProviderReply, ScoredJob
from sentq_worker.providers.breaker import Breaker
from sentq_worker.providers.hub.pool import HubPool, HubRequest, HubRow
from sentq_worker.providers.hub.windows import PartWindows, TextWindows, Windower
from sentq_worker.providers.models import unknown_model
from sentq_worker.scoring.labels import Labels
from sentq_worker.scoring.language_rule import LanguageRule
from sentq_worker.scoring.parts import Places, texts_of
from sentq_worker.scoring.preprocess import read_text
from sentq_worker.scoring.windows import TextTokens, join
from sentq_worker.settings import Cleaning, JoinRule

__all__ = ["HubProvider"]

#: Most scored windows that are kept for jobs which wait for their other windows. Each of them was
#: paid for.
_MAX_SCORED_WINDOWS: Final = 10_000


class HubProvider:
    """Scores jobs at the Hub.

    Args:
        open_hub: Makes, at the start, the pool of calls and the function that splits texts.
        breaker: The circuit breaker of the Hub.
        model: The model's name in outcomes.
        limits: The contract's limits.
        now_ms: Redis' clock, which deadlines refer to.
        renamed: Other names for the model's labels.
        expected_labels: Returns the names of the local model's labels; None if there is no local
            model, or its labels are not known yet.
        window_join: How the windows' probabilities become the text's.
        make_languages: Makes, at the start, the rule of languages. A text that it refuses is not
            sent.
        clean: What is left out of texts before they are sent.
    """

    def __init__(
        self,
        open_hub: Callable[[], tuple[HubPool, Windower]],
        *,
        breaker: Breaker,
        model: str,
        limits: Limits,
        now_ms: Callable[[], float],
        renamed: Mapping[str, str],
        expected_labels: Callable[[], Sequence[str] | None] = lambda: None,
        window_join: JoinRule = "mean",
        make_languages: Callable[[], LanguageRule | None] = lambda: None,
        clean: Cleaning = "none",
    ) -> None:
        self._open_hub = open_hub
        self._pool: HubPool | None = None
        self._split: Windower
        #: The circuit breaker of the Hub.
        self.breaker = breaker
        self._model = model
        self._limits = limits
        self._now_ms = now_ms
        self._renamed = renamed
        self._expected_labels = expected_labels
        self._window_join: JoinRule = window_join
        self._make_languages = make_languages
        self._languages: LanguageRule | None = None
        self._clean: Cleaning = clean
        self._labels: Labels | None = None
        #: By window: what was scored for jobs that still wait.
        self._scored_windows: dict[str, HubRow] = {}

    @property
    def info(self) -> EngineInfo:
        """See `Provider.info`. There is no revision: the Hub does not let a caller pin one."""
        names = self._labels.names if self._labels else ()
        return EngineInfo(self._model, None, "hub", "remote", names)

    @property
    def breaker_states(self) -> BreakerStates:
        """See `Provider.breaker_states`."""
        return BreakerStates(hub=self.breaker.state)

    @property
    def counts(self) -> EngineCounts:
        """See `SupportsCounts`."""
        pool = self._pool
        if pool is None:
            return EngineCounts()
        return EngineCounts(hub_calls=Counter(pool.calls), hub_budget=pool.budget_uses)

    @property
    def is_usable(self) -> bool:
        """See `Provider.is_usable`."""
        return self.breaker.is_closed

    @property
    def progress_at(self) -> float:
        """See `SupportsProgress`."""
        return float("-inf") if self._pool is None else self._pool.progress_at

    def start(self) -> None:
        """See `Provider.start`."""
        self._languages = self._make_languages()
        self._pool, self._split = self._open_hub()
        self._pool.start()
        self._check_labels(self._pool)

    def stop(self) -> None:
        """See `Provider.stop`."""
        if self._pool is not None:
            self._pool.stop()

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """See `Provider.prefetch`. Nothing is prepared here."""

    def score(self, jobs: Sequence[ProviderJob]) -> list[ProviderReply]:
        """See `Provider.score`.

        A job of which a part could not be scored waits as a whole. Its scored windows are kept, so
        that they are not sent again.
        """
        pool = self._pool
        if pool is None:
            raise RuntimeError("the Hub cannot be called: start comes first")
        now_ms, now = self._now_ms(), time.monotonic()
        plans = [self._plan(job) for job in jobs]
        deadlines: dict[str, float] = {}
        for job, plan in zip(jobs, plans, strict=True):
            left_ms = float("inf") if job.deadline_ms is None else job.deadline_ms - now_ms
            for window in _windows(plan):
                if window not in self._scored_windows:
                    deadlines[window] = max(deadlines.get(window, 0.0), now + left_ms / 1000)
        requests = [HubRequest(window, until_s) for window, until_s in deadlines.items()]
        rows = pool.predict(requests) if requests else []
        known = self._scored_windows | dict(zip(deadlines, rows, strict=True))
        unavailable = self._label_mismatch(pool)
        replies = [unavailable or self._reply(plan, known) for plan in plans]
        self._keep_scored_windows(plans, replies, known)
        return replies

    def _plan(self, job: ProviderJob) -> list[TextError | TextWindows]:
        """Return the windows of each text, or the error that it ends in."""
        if job.is_local_only:
            return [_LOCAL_ONLY] * len(job.texts)
        if job.asked.model not in (None, MAIN_MODEL):
            return [unknown_model(job.asked.model or "", [MAIN_MODEL])] * len(job.texts)
        return [self._text_windows(text) for text in texts_of(job)]

    def _text_windows(self, text: object) -> TextError | TextWindows:
        found = read_text(text, self._limits, self._languages, clean=self._clean)
        if isinstance(found, TextError):
            return found
        split = self._split(found.readable)
        parts = None
        if found.original is not None:
            parts = _window_parts(split, found.original)
        elif found.parts is not None:
            parts = [
                PartWindows(part.start, part.end, self._split(part.text)) for part in found.parts
            ]
        return replace(split, tokens=replace(split.tokens, language=found.language), parts=parts)

    def _reply(
        self, plan: Sequence[TextError | TextWindows], known: Mapping[str, HubRow]
    ) -> ProviderReply:
        outcomes: list[Outcome] = []
        for text in plan:
            outcome = text if isinstance(text, TextError) else self._outcome(text, known)
            if isinstance(outcome, EngineUnavailable):
                return outcome
            outcomes.append(outcome)
        return ScoredJob(outcomes, self.info)

    def _outcome(
        self, text: TextWindows, known: Mapping[str, HubRow]
    ) -> Outcome | EngineUnavailable:
        probabilities = self._joined(text, known)
        if not isinstance(probabilities, list):
            return probabilities
        if self._labels is None:
            return EngineUnavailable("the labels of the Hub's model are not known")
        parts: list[TextPart] = []
        for part in text.parts or ():
            own = self._joined(part.text, known)
            if not isinstance(own, list):
                return own
            parts.append(self._labels.part(own, start=part.start, end=part.end))
        return self._labels.prediction(
            probabilities,
            tokens=text.tokens.tokens,
            windows=len(text.windows),
            language=text.tokens.language,
            parts=None if text.parts is None else parts,
        )

    def _joined(
        self, text: TextWindows, known: Mapping[str, HubRow]
    ) -> list[float] | TextError | EngineUnavailable:
        """Return the probabilities of a text or a part, or why it has none."""
        rows: list[list[float]] = []
        for window in text.windows:
            row = known[window]
            if not isinstance(row, list):
                return row
            rows.append(row)
        sentiment = self._labels.sentiment if self._labels else lambda _: None
        return join(text.tokens, rows, rule=self._window_join, sentiment=sentiment)

    def _keep_scored_windows(
        self,
        plans: Sequence[Sequence[TextError | TextWindows]],
        replies: Sequence[ProviderReply],
        known: Mapping[str, HubRow],
    ) -> None:
        """Keep the scored windows of jobs that wait, and forget those of scored jobs."""
        for plan, reply in zip(plans, replies, strict=True):
            for window in _windows(plan):
                if isinstance(reply, ScoredJob):
                    self._scored_windows.pop(window, None)
                elif not isinstance(known[window], EngineUnavailable):
                    self._scored_windows[window] = known[window]
        while len(self._scored_windows) > _MAX_SCORED_WINDOWS:
            del self._scored_windows[next(iter(self._scored_windows))]

    def _label_mismatch(self, pool: HubPool) -> EngineUnavailable | None:
        """Return why the Hub's scores must not be used, if its labels are not those expected.

        The labels are compared as soon as both are known. A mismatch disables the Hub.
        """
        try:
            self._check_labels(pool)
        except ModelUnavailable as error:
            pool.disable(str(error))
            return EngineUnavailable(str(error))
        return None

    def _check_labels(self, pool: HubPool) -> None:
        own = pool.labels
        if own is None:
            return
        if self._labels is None:
            try:
                self._labels = Labels(own, self._renamed)
            except ValueError as error:
                raise ModelUnavailable(f"SENTQ_WORKER_HUB_LABELS does not fit: {error}") from error
        names, expected = self._labels.names, self._expected_labels()
        if expected is not None and set(names) != set(expected):
            raise ModelUnavailable(
                f"the Hub's model has the labels {sorted(names)}, the local one "
                f"{sorted(expected)}: set SENTQ_WORKER_HUB_LABELS to name the Hub's as the "
                'local ones, such as {"LABEL_0": "negative", …}, or take another model'
            )


def _window_parts(split: TextWindows, original: Places) -> list[PartWindows]:
    """Return the windows of a text as its parts. None of them is sent twice."""
    return [
        PartWindows(*original(*span), TextWindows([window], TextTokens([tokens], 0), [span]))
        for window, tokens, span in zip(
            split.windows, split.tokens.windows, split.spans, strict=True
        )
    ]


def _windows(plan: Sequence[TextError | TextWindows]) -> Iterator[str]:
    """Yield the windows of a job's texts, except for texts that are not sent."""
    for text in plan:
        if isinstance(text, TextWindows):
            yield from text.all_windows


_LOCAL_ONLY: Final = TextError(
    code=ErrorCode.ENGINE_UNAVAILABLE,
    message="this text must stay on this machine, and its worker only uses the Hub",
)
