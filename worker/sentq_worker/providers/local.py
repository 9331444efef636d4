"""The engine of this process, as one that answers jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sentq_worker.engine.base import EngineInfo
from sentq_worker.engine.provider import (
    BreakerStates,
    JobScorer,
    ProviderJob,
    ProviderReply,
    ScoredJob,
    SupportsPrefetch,
)

__all__ = ["LocalProvider"]


class LocalProvider:
    """Loads a scorer when it starts, and answers every job by it.

    Args:
        load: Makes the scorer, with the model loaded.
    """

    def __init__(self, load: Callable[[], JobScorer]) -> None:
        self._load = load
        self._scorer: JobScorer | None = None

    @property
    def info(self) -> EngineInfo:
        """See `Provider.info`."""
        return self._loaded.engine.info

    @property
    def is_loaded(self) -> bool:
        """Whether there is a scorer at the moment."""
        return self._scorer is not None

    @property
    def breaker_states(self) -> BreakerStates:
        """See `Provider.breaker_states`."""
        return BreakerStates()

    @property
    def is_usable(self) -> bool:
        """See `Provider.is_usable`."""
        return True

    def start(self) -> None:
        """See `Provider.start`. Called again, it loads anew, after it let go of the old one."""
        self._scorer = None
        self._scorer = self._load()

    def stop(self) -> None:
        """See `Provider.stop`."""

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """See `Provider.prefetch`."""
        if isinstance(self._scorer, SupportsPrefetch):
            self._scorer.prefetch([job.texts for job in jobs])

    def score(self, jobs: Sequence[ProviderJob]) -> list[ProviderReply]:
        """See `Provider.score`."""
        scorer = self._loaded
        scored = scorer.score([job.texts for job in jobs])
        info = scorer.engine.info
        return [ScoredJob(outcomes, info) for outcomes in scored]

    @property
    def _loaded(self) -> JobScorer:
        if self._scorer is None:
            raise RuntimeError("no model is loaded: start comes first")
        return self._scorer
