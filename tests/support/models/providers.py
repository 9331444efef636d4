"""ScriptedProvider answerers, and jobs as they see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sentq.contract import Outcome, Prediction
from sentq_worker.engine.base import EngineInfo, EngineUnavailable
from sentq_worker.engine.provider import BreakerStates, ProviderJob, ProviderReply, ScoredJob

__all__ = ["ScriptedJob", "ScriptedProvider", "prediction"]


def prediction(score: float = 0.75) -> Prediction:
    """A prediction like any other."""
    return Prediction(
        label="positive",
        score=score,
        scores={"negative": 1 - score, "positive": score},
        sentiment=2 * score - 1,
        tokens=1,
        windows=1,
    )


@dataclass(frozen=True)
class ScriptedJob:
    """A job, as far as it decides who answers."""

    texts: Sequence[object]
    is_local_only: bool = False
    deadline_ms: float | None = None
    sent_at_ms: float | None = None
    queue: str = "sentq"


@dataclass
class ScriptedProvider:
    """Answers with `outcome`, or raises `error` while there is one; keeps what it was asked."""

    backend: str
    outcome: Outcome = field(default_factory=prediction)
    error: Exception | None = None
    start_error: Exception | None = None
    waits: bool = False
    starts: int = 0
    asked: list[object] = field(default_factory=list)
    read: list[object] = field(default_factory=list)

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("scripted", None, self.backend, "none", ("negative", "positive"))

    @property
    def breaker_states(self) -> BreakerStates:
        return BreakerStates()

    @property
    def is_usable(self) -> bool:
        return not self.waits

    def start(self) -> None:
        self.starts += 1
        if self.start_error is not None:
            raise self.start_error

    def stop(self) -> None:
        pass

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        self.read += [text for job in jobs for text in job.texts]

    def score(self, jobs: Sequence[ProviderJob]) -> list[ProviderReply]:
        self.asked += [text for job in jobs for text in job.texts]
        if self.error is not None:
            raise self.error
        if self.waits:
            return [EngineUnavailable("it is away")] * len(jobs)
        return [ScoredJob([self.outcome] * len(job.texts), self.info) for job in jobs]
