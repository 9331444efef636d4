"""The models that a worker has loaded: each job, and each text, goes to one of them.

    a job that names a model ────▶ that model; the error `unknown_model` if it is not loaded
    any other job ───────────────▶ the serving model ── a text in a language of another one ──▶ that
       └─ in a roll, a share ────▶ the candidate; if it fails, the serving model

The texts for one model make batches of their own. All models compute in the thread of the engine,
one step after the other. A roll replaces models from one batch to the next: a batch that runs keeps
those that it began with.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import zip_longest
from operator import add
from typing import Final, NamedTuple

from sentq.contract import MAIN_MODEL, NO_OPTIONS, ErrorCode, Outcome, Prediction, TextError
from sentq.errors import OverLimit
from sentq.wire.roll.state import RollState
from sentq_worker.engine.base import DeviceLost, EngineInfo
from sentq_worker.engine.counts import EngineCounts, counts_of
from sentq_worker.engine.provider import (
    JobScorer,
    ProviderJob,
    ProviderReply,
    ScoredJob,
    SupportsPrefetch,
    SupportsRoutes,
    scorer_steps,
)
from sentq_worker.engine.steps import Steps
from sentq_worker.providers.shadow import ShadowCounts
from sentq_worker.scoring.language_rule import RoutedText
from sentq_worker.scoring.parts import texts_of

__all__ = ["LoadedModels", "unknown_model"]

logger = logging.getLogger(__name__)

#: By the position of a job, the positions of some of its texts.
_Places = dict[int, list[int]]

#: Errors of the model, and not of the text.
_FAILURES: Final = (ErrorCode.INFERENCE_FAILED, ErrorCode.RESOURCE_EXHAUSTED)


class _Choice(NamedTuple):
    """The model of a job, and whether the job asks for it by name."""

    name: str
    is_asked_for: bool


@dataclass(frozen=True, slots=True)
class _ModelSet:
    """The models of one moment.

    Attributes:
        state: Which of them serves, and which is tried.
        rolled: The scorers of these two, by name.
        named: The scorers that jobs can ask for by name, the serving one first.
        counts_before: What models have counted that were released.
    """

    state: RollState
    rolled: Mapping[str, JobScorer]
    named: Mapping[str, JobScorer]
    counts_before: EngineCounts

    def choose(self, job: ProviderJob) -> _Choice:
        """Return the model that scores a job."""
        state, asked = self.state, job.asked.model
        if asked is not None:
            return _Choice(state.serving if asked == MAIN_MODEL else asked, is_asked_for=True)
        is_tried = not state.is_shadow and state.takes(job.id)
        return _Choice(state.models[is_tried], is_asked_for=False)

    def group(self, jobs: Sequence[ProviderJob]) -> Mapping[_Choice, Sequence[int]]:
        """Return the positions of jobs by their model."""
        # Nearly every batch. To choose for each of thousands of jobs a second would take longer.
        if self.state.candidate is None and all(job.asked is NO_OPTIONS for job in jobs):
            return {_Choice(self.state.serving, is_asked_for=False): range(len(jobs))}
        found: defaultdict[_Choice, list[int]] = defaultdict(list)
        for n, job in enumerate(jobs):
            found[self.choose(job)].append(n)
        return found

    def scorer_of(self, choice: _Choice) -> JobScorer | None:
        """Return the scorer of such jobs; None if the worker does not have the model."""
        return (self.named if choice.is_asked_for else self.rolled).get(choice.name)

    def is_tried(self, choice: _Choice) -> bool:
        """Return whether the candidate scores such jobs in place of the serving model."""
        return choice == _Choice(self.state.candidate or "", is_asked_for=False)


class LoadedModels:
    """Scores jobs with several models. One thread at a time may use it, except `prefetch` and
    `serve`.

    Args:
        main: The scorer of jobs that name no model.
        others: The scorers of further models, by name.
    """

    def __init__(self, main: JobScorer, others: Mapping[str, JobScorer]) -> None:
        self._others: Final = others
        self._texts: Counter[str] = Counter()
        self._shadow = ShadowCounts()
        #: Jobs that the candidate could not score, and the serving model has scored.
        self._candidate_failures = 0
        self._models = self._set(RollState(), {MAIN_MODEL: main}, EngineCounts())

    @property
    def info(self) -> EngineInfo:
        """The engine of the model that serves."""
        return self._models.rolled[self.state.serving].engine.info

    @property
    def infos(self) -> dict[str, EngineInfo]:
        """The engine of each model, by name, the one that serves first."""
        return {name: scorer.engine.info for name, scorer in self._models.named.items()}

    @property
    def state(self) -> RollState:
        """Which model serves, and which is tried."""
        return self._models.state

    @property
    def counts(self) -> EngineCounts:
        """See `SupportsCounts`."""
        own = EngineCounts(
            model_texts=Counter(self._texts),
            shadow_texts=Counter(self._shadow.texts),
            shadow_difference=self._shadow.difference,
            candidate_failures=self._candidate_failures,
        )
        models = self._models
        scorers = (*models.rolled.values(), *self._others.values())
        return reduce(add, map(counts_of, scorers), models.counts_before + own)

    def serve(self, state: RollState, loaded: Mapping[str, JobScorer]) -> None:
        """Serve as a state says from the next batch on, and release models that it does not need.

        Args:
            state: The state.
            loaded: The scorers of its models that are not loaded yet, by name.
        """
        before = self._models
        available = {**before.rolled, **loaded}
        released = [counts_of(each) for name, each in available.items() if name not in state.models]
        self._models = self._set(
            state,
            {name: available[name] for name in state.models},
            reduce(add, released, before.counts_before),
        )

    def _set(
        self, state: RollState, rolled: Mapping[str, JobScorer], counts_before: EngineCounts
    ) -> _ModelSet:
        # A job that asks for a model by name gets it in any language.
        by_name = {
            name: scorer.without_routes() if isinstance(scorer, SupportsRoutes) else scorer
            for name, scorer in rolled.items()
        }
        named = {state.serving: by_name.pop(state.serving), **self._others, **by_name}
        self._texts.update(dict.fromkeys(named, 0))
        return _ModelSet(state, rolled, named, counts_before)

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """See `Provider.prefetch`."""
        models = self._models
        for choice, numbers in models.group(jobs).items():
            scorer = models.scorer_of(choice)
            if isinstance(scorer, SupportsPrefetch):
                scorer.prefetch([texts_of(jobs[n]) for n in numbers])

    def score_in_steps(self, jobs: Sequence[ProviderJob]) -> Steps[list[ProviderReply]]:
        """Score jobs; return one reply for each, in order. See `SupportsProviderSteps`."""
        models, serving = self._models, self._models.state.serving
        replies: dict[int, ProviderReply] = {}
        names: dict[int, str] = {}
        for choice, numbers in models.group(jobs).items():
            scorer = models.scorer_of(choice)
            if scorer is None:
                error = unknown_model(choice.name, models.named)
                for n in numbers:
                    replies[n] = ScoredJob([error] * len(jobs[n].texts), self.info)
                continue
            names.update(dict.fromkeys(numbers, choice.name))
            if not models.is_tried(choice):
                yield from _score(scorer, numbers, jobs, replies)
            elif failed := (yield from self._try_candidate(scorer, numbers, jobs, replies)):
                names.update(dict.fromkeys(failed, serving))
                yield from _score(models.rolled[serving], failed, jobs, replies)
        routed = _routed(replies) if len(models.named) > 1 else {}
        for name, places in routed.items():
            yield from _score_elsewhere(models.named[name], places, jobs, replies)
        self._count(names, replies, routed)
        if models.state.is_shadow:
            yield from self._score_in_shadow(models, jobs, replies)
        return [replies[n] for n in range(len(jobs))]

    def _try_candidate(
        self,
        candidate: JobScorer,
        numbers: Sequence[int],
        jobs: Sequence[ProviderJob],
        replies: dict[int, ProviderReply],
    ) -> Steps[list[int]]:
        """Have the candidate score jobs; return the positions of those on which it fails. An error
        of a model that is only tried must be none of the jobs."""
        try:
            yield from _score(candidate, numbers, jobs, replies)
        except DeviceLost:
            raise
        except Exception as error:  # noqa: BLE001 - the serving model scores the jobs
            _warn_of_failure(error)
            failed = list(numbers)
        else:
            failed = [n for n in numbers if _has_failed(replies[n])]
        self._candidate_failures += len(failed)
        return failed

    def _score_in_shadow(
        self,
        models: _ModelSet,
        jobs: Sequence[ProviderJob],
        replies: Mapping[int, ProviderReply],
    ) -> Steps[None]:
        """Have the candidate score its share of jobs that are scored, and compare."""
        numbers = [
            n
            for n, job in enumerate(jobs)
            if job.asked.model is None and models.state.takes(job.id)
        ]
        answers = {n: r.outcomes for n in numbers if isinstance(r := replies[n], ScoredJob)}
        texts = [texts_of(jobs[n]) for n in answers]
        if not texts:
            return
        try:
            scored = yield from scorer_steps(models.rolled[models.state.models[-1]], texts)
        except DeviceLost:
            raise
        except Exception as error:  # noqa: BLE001 - the answers are there
            _warn_of_failure(error)
            scored = []
        for outcomes, shadows in zip_longest(answers.values(), scored):
            if shadows is None or isinstance(shadows, OverLimit):
                self._shadow.fail(outcomes)
            else:
                self._shadow.compare(outcomes, shadows)

    def _count(
        self,
        names: Mapping[int, str],
        replies: Mapping[int, ProviderReply],
        routed: Mapping[str, _Places],
    ) -> None:
        """Count the texts of each model.

        Args:
            names: The models of jobs, by position.
            replies: The replies, by position.
            routed: Texts that other models than those of their jobs have scored.
        """
        for n, name in names.items():
            reply = replies[n]
            if isinstance(reply, ScoredJob):
                self._texts[name] += len(reply.outcomes)
        for name, places in routed.items():
            for n, of_job in places.items():
                if isinstance(replies[n], ScoredJob):
                    self._texts[name] += len(of_job)
                    self._texts[names[n]] -= len(of_job)


def unknown_model(name: str, available: Iterable[str]) -> TextError:
    """Return the error of a text whose job asks for a model that the worker does not have."""
    names = dict.fromkeys([MAIN_MODEL, *available])
    return TextError(
        code=ErrorCode.UNKNOWN_MODEL,
        message=f"this worker has no model {name}; it has {', '.join(names)}",
    )


def _score(
    scorer: JobScorer,
    numbers: Sequence[int],
    jobs: Sequence[ProviderJob],
    replies: dict[int, ProviderReply],
) -> Steps[None]:
    """Have a model score jobs, and add its replies."""
    scored = yield from scorer_steps(scorer, [texts_of(jobs[n]) for n in numbers])
    info = scorer.engine.info
    for n, outcomes in zip(numbers, scored, strict=True):
        replies[n] = outcomes if isinstance(outcomes, OverLimit) else ScoredJob(outcomes, info)


def _score_elsewhere(
    scorer: JobScorer,
    places: _Places,
    jobs: Sequence[ProviderJob],
    replies: dict[int, ProviderReply],
) -> Steps[None]:
    """Have a model score some texts of jobs, and put its outcomes into the replies."""
    texts = [[texts_of(jobs[n])[at] for at in of_job] for n, of_job in places.items()]
    scored = yield from scorer_steps(scorer, texts)
    info = scorer.engine.info
    for (n, of_job), outcomes in zip(places.items(), scored, strict=True):
        reply = replies[n]
        if isinstance(outcomes, OverLimit):
            replies[n] = outcomes
        elif isinstance(reply, ScoredJob):
            for at, outcome in zip(of_job, outcomes, strict=True):
                reply.outcomes[at] = _named(outcome, info)


def _has_failed(reply: ProviderReply) -> bool:
    """Return whether a job has no outcome of its model, for no fault of one of its texts."""
    if not isinstance(reply, ScoredJob):
        return True
    return any(isinstance(each, TextError) and each.code in _FAILURES for each in reply.outcomes)


def _warn_of_failure(error: Exception) -> None:
    # The class alone: a message might quote a text.
    logger.warning("the candidate of a roll failed on a batch of jobs (%s)", type(error).__name__)


def _routed(replies: Mapping[int, ProviderReply]) -> dict[str, _Places]:
    """Return the texts that other models shall score, by the name of the model."""
    found: dict[str, _Places] = {}
    for n, reply in replies.items():
        if not isinstance(reply, ScoredJob):
            continue
        for at, outcome in enumerate(reply.outcomes):
            if isinstance(outcome, RoutedText):
                found.setdefault(outcome.to, {}).setdefault(n, []).append(at)
    return found


def _named(outcome: Outcome, info: EngineInfo) -> Outcome:
    """Return an outcome that names the model which gave it."""
    if not isinstance(outcome, Prediction):
        return outcome
    return outcome.model_copy(update={"model": info.model, "revision": info.revision})
