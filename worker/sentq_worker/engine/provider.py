"""What a provider does with jobs.

An `Engine` computes the probabilities of windows. A `Provider` scores jobs: with the engine of
this process, with the Hugging Face Hub, or with one of the two as a fallback for the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from sentq.contract import Detail, JobOptions, Outcome
from sentq.errors import OverLimit
from sentq.wire.roll.report import RollReport
from sentq.wire.roll.state import RollState
from sentq_worker.engine.base import EngineInfo, EngineUnavailable
from sentq_worker.engine.steps import Steps

__all__ = [
    "BreakerStates",
    "HasEngineInfo",
    "JobOutcomes",
    "JobScorer",
    "Provider",
    "ProviderJob",
    "ProviderReply",
    "ScoredJob",
    "SupportsModels",
    "SupportsPrefetch",
    "SupportsProgress",
    "SupportsProviderSteps",
    "SupportsRoll",
    "SupportsRoutes",
    "SupportsScorerSteps",
    "models_of",
    "provider_steps",
    "roll_of",
    "scorer_steps",
]


class ProviderJob(Protocol):
    """The part of a job that a provider reads."""

    @property
    def id(self) -> str:
        """The job's id."""
        ...

    @property
    def texts(self) -> Sequence[object]: ...

    @property
    def asked(self) -> JobOptions:
        """What it asks for beside its texts."""
        ...

    @property
    def is_local_only(self) -> bool:
        """Whether its texts must not be sent to a third party. No setting overrides it."""
        ...

    @property
    def detail(self) -> Detail | None:
        """Which parts of its texts are scored, too."""
        ...

    @property
    def deadline_ms(self) -> float | None:
        """The deadline by Redis' clock; None for a job without one."""
        ...

    @property
    def sent_at_ms(self) -> float | None:
        """The time of sending by the sender's clock; None if it is not known."""
        ...

    @property
    def queue(self) -> str:
        """The queue that delivered it."""
        ...


class ScoredJob(NamedTuple):
    """A job's outcomes, one for each text in order, and the engine that computed them."""

    outcomes: list[Outcome]
    info: EngineInfo


#: A job is scored, is larger than a limit, or waits for the reason that the error names.
ProviderReply = ScoredJob | OverLimit | EngineUnavailable

#: The outcomes of a job's texts, or the limit that the job as a whole exceeds.
JobOutcomes = list[Outcome] | OverLimit


class BreakerStates(NamedTuple):
    """The states of a provider's circuit breakers; None for a breaker that it does not have."""

    hub: str | None = None
    local: str | None = None


class Provider(Protocol):
    """Scores jobs. One thread at a time may use it, except for `prefetch`."""

    @property
    def info(self) -> EngineInfo:
        """The engine that scores jobs at the moment."""
        ...

    @property
    def breaker_states(self) -> BreakerStates:
        """The states of its circuit breakers."""
        ...

    @property
    def is_usable(self) -> bool:
        """Whether it can score any job at the moment, as far as it knows."""
        ...

    def start(self) -> None:
        """Load the model, or open the connections.

        Raises:
            EngineError: That is not possible. The message says what to do.
        """
        ...

    def stop(self) -> None:
        """Close what `start` opened. It may be called without `start`."""
        ...

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """Prepare jobs that will probably be scored next, if that saves time.

        Returns at once. Another thread may call it while `score` runs.
        """
        ...

    def score(self, jobs: Sequence[ProviderJob]) -> list[ProviderReply]:
        """Score jobs; return one reply for each job, in order.

        Raises:
            EngineUnavailable: No job can be scored at the moment.
            DeviceLost: This process cannot score any job any more.
        """
        ...


class HasEngineInfo(Protocol):
    """An engine, for readers that only need its description."""

    @property
    def info(self) -> EngineInfo: ...


class JobScorer(Protocol):
    """Scores the texts of jobs in this process, as `scoring.scorer.EngineScorer` does."""

    @property
    def engine(self) -> HasEngineInfo: ...

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]: ...


@runtime_checkable
class SupportsPrefetch(Protocol):
    """A `JobScorer` that prepares texts in advance."""

    def prefetch(self, jobs: Sequence[Sequence[object]]) -> None:
        """See `Provider.prefetch`."""
        ...


@runtime_checkable
class SupportsRoutes(Protocol):
    """A `JobScorer` that may leave texts in other languages to other models."""

    def without_routes(self) -> JobScorer:
        """Return a scorer with the same model that scores texts in any language."""
        ...


@runtime_checkable
class SupportsScorerSteps(Protocol):
    """A `JobScorer` that pauses between its steps."""

    def score_in_steps(self, jobs: Sequence[Sequence[object]]) -> Steps[list[JobOutcomes]]:
        """Score the texts of jobs, as `JobScorer.score` does. A job may exceed a limit that is
        known only now: it gets the error, and affects no other."""
        ...


@runtime_checkable
class SupportsModels(Protocol):
    """A `Provider` with several models."""

    @property
    def models(self) -> Mapping[str, EngineInfo]:
        """The engine of each model, by the name under which jobs ask for it, the main one first.
        Empty while none is loaded."""
        ...


@runtime_checkable
class SupportsRoll(Protocol):
    """A `Provider` with models that can take over from the one that serves."""

    @property
    def roll(self) -> RollReport | None:
        """What it does for a roll; None if no model can be rolled."""
        ...

    def follow(self, state: RollState, *, waits: bool = False) -> None:
        """Load, use and release models as a state says. Returns at once.

        Args:
            state: What an operator has said.
            waits: Return when that is done, or has failed.
        """
        ...


@runtime_checkable
class SupportsProviderSteps(Protocol):
    """A `Provider` that pauses between its steps."""

    def score_in_steps(self, jobs: Sequence[ProviderJob]) -> Steps[list[ProviderReply]]:
        """Score jobs, as `Provider.score` does. In a pause the same thread may score others."""
        ...


@runtime_checkable
class SupportsProgress(Protocol):
    """A `Provider` that makes progress within a step."""

    @property
    def progress_at(self) -> float:
        """When it last made progress, such as by a call of the Hub that ended, by the monotonic
        clock. Any thread may read it."""
        ...


def scorer_steps(
    scorer: JobScorer, jobs: Sequence[Sequence[object]]
) -> Steps[Sequence[JobOutcomes]]:
    """Score with a scorer in steps; in one step if it has no others."""
    if isinstance(scorer, SupportsScorerSteps):
        return (yield from scorer.score_in_steps(jobs))
    return scorer.score(jobs)


def models_of(provider: Provider) -> Mapping[str, EngineInfo]:
    """Return the engines of a provider's models, by name; none if it has only one model."""
    return provider.models if isinstance(provider, SupportsModels) else {}


def roll_of(provider: Provider) -> RollReport | None:
    """Return what a provider does for a roll; None if none of its models can be rolled."""
    return provider.roll if isinstance(provider, SupportsRoll) else None


def provider_steps(provider: Provider, jobs: Sequence[ProviderJob]) -> Steps[list[ProviderReply]]:
    """Score with a provider in steps; in one step if it has no others."""
    if isinstance(provider, SupportsProviderSteps):
        return (yield from provider.score_in_steps(jobs))
    return provider.score(jobs)
