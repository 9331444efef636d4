"""Scripted providers, and jobs as providers receive them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sentq.contract import NO_OPTIONS, Detail, JobOptions, Outcome, Prediction
from sentq_worker.engine.base import EngineInfo, EngineUnavailable
from sentq_worker.engine.provider import BreakerStates, ProviderJob, ProviderReply, ScoredJob

__all__ = ["ScriptedJob", "ScriptedProvider", "prediction"]


def prediction(score: float = 0.75) -> Prediction:
    """Return a valid prediction with this score."""
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
    """The properties of a job that decide which provider scores it."""

    texts: Sequence[object]
    is_local_only: bool = False
    deadline_ms: float | None = None
    sent_at_ms: float | None = None
    queue: str = "sentq"
    detail: Detail | None = None
    asked: JobOptions = NO_OPTIONS
    id: str = ""


@dataclass
class ScriptedProvider:
    """Returns `outcome` for each text, or raises `error`; records the texts.

    Attributes:
        backend: The name of the provider in outcomes.
        outcome: The outcome of each text.
        error: Raised by `score`, unless None.
        start_error: Raised by `start`, unless None.
        is_unavailable: Whether all jobs must wait.
        starts: The number of calls of `start`.
        scored_texts: The texts of all calls of `score`.
        prefetched_texts: The texts of all calls of `prefetch`.
    """

    backend: str
    outcome: Outcome = field(default_factory=prediction)
    error: Exception | None = None
    start_error: Exception | None = None
    is_unavailable: bool = False
    starts: int = 0
    scored_texts: list[object] = field(default_factory=list)
    prefetched_texts: list[object] = field(default_factory=list)

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("scripted", None, self.backend, "none", ("negative", "positive"))

    @property
    def breaker_states(self) -> BreakerStates:
        return BreakerStates()

    @property
    def is_usable(self) -> bool:
        return not self.is_unavailable

    def start(self) -> None:
        self.starts += 1
        if self.start_error is not None:
            raise self.start_error

    def stop(self) -> None:
        pass

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        self.prefetched_texts += [text for job in jobs for text in job.texts]

    def score(self, jobs: Sequence[ProviderJob]) -> list[ProviderReply]:
        self.scored_texts += [text for job in jobs for text in job.texts]
        if self.error is not None:
            raise self.error
        if self.is_unavailable:
            return [EngineUnavailable("scripted")] * len(jobs)
        return [ScoredJob([self.outcome] * len(job.texts), self.info) for job in jobs]
