"""What a provider does with jobs.

An `Engine` computes the probabilities of windows. A `Provider` scores jobs: with the engine of
this process, with the Hugging Face Hub, or with one of the two as a fallback for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from sentq.contract import Outcome
from sentq_worker.engine.base import EngineInfo, EngineUnavailable

__all__ = [
    "BreakerStates",
    "HasEngineInfo",
    "JobScorer",
    "Provider",
    "ProviderJob",
    "ProviderReply",
    "ScoredJob",
    "SupportsPrefetch",
]


class ProviderJob(Protocol):
    """The part of a job that a provider reads."""

    @property
    def texts(self) -> Sequence[object]: ...

    @property
    def is_local_only(self) -> bool:
        """Whether its texts must not be sent to a third party. No setting overrides it."""
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


@dataclass(frozen=True, slots=True)
class ScoredJob:
    """A job's outcomes, one for each text in order, and the engine that computed them."""

    outcomes: list[Outcome]
    info: EngineInfo


#: A job is scored, or it waits for the reason that the error names.
ProviderReply = ScoredJob | EngineUnavailable


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
    """Scores the texts of jobs in this process, as `sentq_worker.scoring.scorer.Scorer` does."""

    @property
    def engine(self) -> HasEngineInfo: ...

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]: ...


@runtime_checkable
class SupportsPrefetch(Protocol):
    """A `JobScorer` that prepares texts in advance."""

    def prefetch(self, jobs: Sequence[Sequence[object]]) -> None:
        """See `Provider.prefetch`."""
        ...
