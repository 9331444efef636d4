"""Jobs in, answers out: what the worker asks of whoever answers, here or at the Hub.

An `Engine` scores windows; an `Provider` answers jobs, whatever it takes: one engine in this
process, the Hub, or one of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from sentq.contract import Outcome
from sentq_worker.engine.base import EngineInfo, EngineUnavailable

__all__ = [
    "BreakerStates",
    "JobScorer",
    "Provider",
    "ProviderJob",
    "ProviderReply",
    "ScoredJob",
    "SupportsPrefetch",
]


class ProviderJob(Protocol):
    """A job, as far as it decides who answers and how."""

    @property
    def texts(self) -> Sequence[object]: ...

    @property
    def is_local_only(self) -> bool:
        """Whether its texts may not leave this machine. Nothing overrules it."""
        ...

    @property
    def deadline_ms(self) -> float | None:
        """Until when an answer is of use, by Redis' clock."""
        ...

    @property
    def sent_at_ms(self) -> float | None:
        """When it was sent, by its sender's clock, where that is known."""
        ...

    @property
    def queue(self) -> str:
        """The queue that it came through."""
        ...


@dataclass(frozen=True, slots=True)
class ScoredJob:
    """A job's outcomes, one a text in order, and who gave them."""

    outcomes: list[Outcome]
    by: EngineInfo


#: What becomes of one job: it is answered, or waits.
ProviderReply = ScoredJob | EngineUnavailable


class BreakerStates(NamedTuple):
    """The states of the two ways to an answer, None where there is no breaker in it."""

    hub: str | None = None
    local: str | None = None


class Provider(Protocol):
    """Answers jobs. Used by one thread at a time."""

    @property
    def info(self) -> EngineInfo:
        """Who answers now, as far as that is one."""
        ...

    @property
    def breakers(self) -> BreakerStates:
        """What its breakers say."""
        ...

    @property
    def is_usable(self) -> bool:
        """Whether there is any job at all that it could answer now, as far as it knows."""
        ...

    def start(self) -> None:
        """Get ready.

        Raises:
            EngineError: That cannot be; the message says what to do.
        """
        ...

    def stop(self) -> None:
        """Let go of what was opened. May be called without `start`."""
        ...

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """Get ready for jobs that will probably be asked next, while others are answered, as far
        as that is of use. Returns at once. Another thread may call than the one that answers."""
        ...

    def answer(self, jobs: Sequence[ProviderJob]) -> list[ProviderReply]:
        """Answer jobs, a reply each, in order.

        Raises:
            EngineUnavailable: None of them can be answered now.
            DeviceLost: Nor ever, by this process.
        """
        ...


class _Loaded(Protocol):
    @property
    def info(self) -> EngineInfo: ...


class JobScorer(Protocol):
    """What `sentq_worker.scoring.scorer.Scorer` offers, and whatever stands in for it."""

    @property
    def engine(self) -> _Loaded: ...

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]: ...


@runtime_checkable
class SupportsPrefetch(Protocol):
    """What a `JobScorer` may offer too."""

    def prefetch(self, jobs: Sequence[Sequence[object]]) -> None:
        """See `Provider.prefetch`."""
        ...
