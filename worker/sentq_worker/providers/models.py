"""The models that a worker has loaded: each job, and each text, goes to one of them.

    a job that names a model ────▶ that model; the error `unknown_model` if it is not loaded
    any other job ───────────────▶ the main model ── a text in a language of another one ──▶ that

The texts for one model make batches of their own. All models compute in the thread of the engine,
one step after the other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Final

from sentq.contract import MAIN_MODEL, ErrorCode, Outcome, Prediction, TextError
from sentq.errors import OverLimit
from sentq_worker.engine.base import EngineInfo
from sentq_worker.engine.counts import EngineCounts, counts_of
from sentq_worker.engine.provider import (
    JobOutcomes,
    JobScorer,
    ProviderJob,
    ProviderReply,
    ScoredJob,
    SupportsPrefetch,
    SupportsRoutes,
    scorer_steps,
)
from sentq_worker.engine.steps import Steps
from sentq_worker.scoring.language_rule import RoutedText
from sentq_worker.scoring.parts import texts_of

__all__ = ["LoadedModels", "unknown_model"]

#: By the position of a job, the positions of some of its texts.
_Places = dict[int, list[int]]


class LoadedModels:
    """Scores jobs with several models. One thread at a time may use it, except `prefetch`.

    Args:
        main: The scorer of jobs that name no model.
        others: The scorers of further models, by name.
    """

    def __init__(self, main: JobScorer, others: Mapping[str, JobScorer]) -> None:
        self._by_language = main
        # A job that asks for the main model gets it in any language.
        always_main = main.without_routes() if isinstance(main, SupportsRoutes) else main
        self._scorers: Final = {MAIN_MODEL: always_main, **others}
        self._texts: Counter[str] = Counter(dict.fromkeys(self._scorers, 0))

    @property
    def info(self) -> EngineInfo:
        """The engine of the main model."""
        return self._by_language.engine.info

    @property
    def infos(self) -> dict[str, EngineInfo]:
        """The engine of each model, by name, the main one first."""
        return {name: scorer.engine.info for name, scorer in self._scorers.items()}

    @property
    def counts(self) -> EngineCounts:
        """See `SupportsCounts`."""
        others = [scorer for name, scorer in self._scorers.items() if name != MAIN_MODEL]
        counts = map(counts_of, (self._by_language, *others))
        return reduce(add, counts, EngineCounts(model_texts=Counter(self._texts)))

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """See `Provider.prefetch`."""
        for name, numbers in _by_model(jobs).items():
            scorer = self._scorer_of(name)
            if isinstance(scorer, SupportsPrefetch):
                scorer.prefetch([texts_of(jobs[n]) for n in numbers])

    def score_in_steps(self, jobs: Sequence[ProviderJob]) -> Steps[list[ProviderReply]]:
        """Score jobs; return one reply for each, in order. See `SupportsProviderSteps`."""
        replies: dict[int, ProviderReply] = {}
        for name, numbers in _by_model(jobs).items():
            scorer = self._scorer_of(name)
            if name is not None and scorer is None:
                error = unknown_model(name, self._scorers)
                for n in numbers:
                    replies[n] = ScoredJob([error] * len(jobs[n].texts), self.info)
            elif scorer is not None:
                texts = [texts_of(jobs[n]) for n in numbers]
                scored = yield from scorer_steps(scorer, texts)
                for n, outcomes in zip(numbers, scored, strict=True):
                    replies[n] = _reply(outcomes, scorer.engine.info)
        routed = _routed(replies)
        for name, places in routed.items():
            yield from self._score_elsewhere(name, places, jobs, replies)
        self._count(jobs, replies, routed)
        return [replies[n] for n in range(len(jobs))]

    def _scorer_of(self, name: str | None) -> JobScorer | None:
        """Return the scorer of jobs that ask for a model by this name, or for none; None if the
        worker does not have it."""
        return self._by_language if name is None else self._scorers.get(name)

    def _score_elsewhere(
        self,
        name: str,
        places: _Places,
        jobs: Sequence[ProviderJob],
        replies: dict[int, ProviderReply],
    ) -> Steps[None]:
        """Have a model score some texts of jobs, and put its outcomes into the replies."""
        scorer = self._scorers[name]
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

    def _count(
        self,
        jobs: Sequence[ProviderJob],
        replies: Mapping[int, ProviderReply],
        routed: Mapping[str, _Places],
    ) -> None:
        """Count the texts of each model."""
        texts = {n: len(r.outcomes) for n, r in replies.items() if isinstance(r, ScoredJob)}
        counts: Counter[str] = Counter()
        for n, count in texts.items():
            counts[jobs[n].asked.model or MAIN_MODEL] += count
        for name, places in routed.items():
            count = sum(len(of_job) for n, of_job in places.items() if n in texts)
            counts[name] += count
            counts[MAIN_MODEL] -= count
        # What a job asks for may be any name, and each would be kept.
        self._texts.update({name: counts[name] for name in self._scorers})


def unknown_model(name: str, available: Iterable[str]) -> TextError:
    """Return the error of a text whose job asks for a model that the worker does not have."""
    return TextError(
        code=ErrorCode.UNKNOWN_MODEL,
        message=f"this worker has no model {name}; it has {', '.join(available)}",
    )


def _reply(outcomes: JobOutcomes, info: EngineInfo) -> ProviderReply:
    return outcomes if isinstance(outcomes, OverLimit) else ScoredJob(outcomes, info)


def _by_model(jobs: Sequence[ProviderJob]) -> dict[str | None, list[int]]:
    """Return the positions of jobs by the name of the model that they ask for."""
    found: defaultdict[str | None, list[int]] = defaultdict(list)
    for n, job in enumerate(jobs):
        found[job.asked.model].append(n)
    return found


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
