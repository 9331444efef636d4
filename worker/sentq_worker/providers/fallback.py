"""An engine made of two: the one of this process, and the Hub while that one cannot.

                    ┌─ local only, or the queue says so ──────────▶ local, or wait
    a job ──────────┼─ prefer-local ──▶ local; where that is away ▶ the Hub, or wait
                    └─ hub ───────────────────────────────────────▶ the Hub, or wait

The local engine counts as away when it could not be loaded, lost its device, says so itself, or
failed often enough in a row; then a thread loads it anew and has it score a text of ours, until
that works. Whether the Hub may be asked, its own breaker says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, Final

from sentq.contract import ErrorCode, Prediction, TextError
from sentq_worker.engine.base import (
    DeviceLost,
    EngineError,
    EngineInfo,
    EngineUnavailable,
    HubRefused,
)
from sentq_worker.engine.provider import (
    BreakerStates,
    Provider,
    ProviderJob,
    ProviderReply,
    ScoredJob,
)
from sentq_worker.providers.breaker import Breaker
from sentq_worker.providers.breaker_store import SharedBreakerState
from sentq_worker.settings import ProviderPolicy

__all__ = ["FallbackProvider"]

logger = logging.getLogger(__name__)

#: What the local engine is asked, to see whether it works.
_PROBE: Final[Any] = SimpleNamespace(
    texts=["good"], is_local_only=True, deadline_ms=None, sent_at_ms=None, queue=""
)


class FallbackProvider:
    """Answers jobs by two engines, as each job's policy says. A job whose texts may not leave
    never comes near the Hub, whatever else is said.

    Args:
        local: The engine of this process; loads when it starts, and again.
        hub: The other.
        policy: Who answers a job of this queue.
        breaker: Of the local engine.
        probe_interval_s: How long between attempts to have the local engine back.
        backlog_limit_s: Jobs that waited for longer go to the Hub although the local engine
            works, if their policy lets them.
        verdicts: Where what is known of the local engine can be seen.
        is_device_back: Whether a new process could use the device, named as in outcomes, that this
            one has lost for good.
    """

    def __init__(
        self,
        local: Provider,
        hub: Provider,
        *,
        policy: Callable[[str], ProviderPolicy],
        breaker: Breaker,
        probe_interval_s: float = 10.0,
        backlog_limit_s: float | None = None,
        shared_state: SharedBreakerState | None = None,
        is_device_back: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._local = local
        self._hub = hub
        self._policy = policy
        self.breaker = breaker
        self._probe_interval_s = probe_interval_s
        self._backlog_limit_s = backlog_limit_s
        self._shared_state = shared_state
        self._is_device_back = is_device_back
        self._lost_device: str | None = None
        self._must_end: DeviceLost | None = None
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sentq-beside")
        self._reviving: threading.Thread | None = None
        self._ended = threading.Event()

    @property
    def info(self) -> EngineInfo:
        """See `Provider.info`."""
        return self._local.info if self.breaker.is_closed else self._hub.info

    @property
    def breaker_states(self) -> BreakerStates:
        """See `Provider.breaker_states`."""
        return self._hub.breaker_states._replace(local=self.breaker.state)

    @property
    def is_usable(self) -> bool:
        """See `Provider.is_usable`."""
        return self.breaker.is_closed or self._hub.is_usable

    def start(self) -> None:
        """See `Provider.start`. A local engine that cannot start is away, and no more; so is a Hub
        that refuses, as long as the local engine works."""
        try:
            self._local.start()
        except EngineError as error:
            self._lose(f"the local engine cannot start: {error}")
        try:
            self._hub.start()
        except HubRefused:
            if not self.breaker.is_closed:
                raise

    def stop(self) -> None:
        """See `Provider.stop`."""
        self._ended.set()
        self._beside.shutdown(wait=False, cancel_futures=True)
        self._local.stop()
        self._hub.stop()
        if self._shared_state:
            self._shared_state.forget(self.breaker.name)

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """See `Provider.prefetch`."""
        if here := [job for job in jobs if self._stays(job)]:
            self._local.prefetch(here)

    def score(self, jobs: Sequence[ProviderJob]) -> list[ProviderReply]:
        """See `Provider.score`. Where a device is back that only a new process can have again,
        this one ends."""
        if self._must_end is not None:
            raise self._must_end
        replies: dict[int, ProviderReply] = {}
        here = {n for n, job in enumerate(jobs) if self._stays(job)}
        there = [n for n in range(len(jobs)) if n not in here]
        away = self._beside.submit(self._ask_hub, [jobs[n] for n in there]) if there else None
        replies.update(self._ask_local(jobs, sorted(here)))
        if away is not None:
            replies.update(zip(there, away.result(), strict=True))
        # Whoever was left without an answer may have it from the other.
        for_hub = [n for n in here if _waits(replies[n]) and self._may_leave(jobs[n])]
        if for_hub:
            answered = self._ask_hub([jobs[n] for n in for_hub])
            replies.update(zip(for_hub, answered, strict=True))
        for_local = [n for n in there if _waits(replies[n]) and self._may_stay(jobs[n])]
        if for_local and self.breaker.is_closed:
            replies.update(self._ask_local(jobs, for_local))
        return [replies[n] for n in range(len(jobs))]

    def _may_leave(self, job: ProviderJob) -> bool:
        return not job.is_local_only and self._policy(job.queue) != "local"

    def _may_stay(self, job: ProviderJob) -> bool:
        return job.is_local_only or self._policy(job.queue) != "hub"

    def _stays(self, job: ProviderJob) -> bool:
        """Whether the local engine is asked first."""
        if not self._may_leave(job):
            return True
        if not self._may_stay(job) or not self.breaker.is_closed:
            return False
        limit_s, sent_ms = self._backlog_limit_s, job.sent_at_ms
        return limit_s is None or sent_ms is None or time.time() - sent_ms / 1000 <= limit_s

    def _ask_hub(self, jobs: Sequence[ProviderJob]) -> list[ProviderReply]:
        try:
            return self._hub.score(jobs)
        except EngineUnavailable as error:
            return [error] * len(jobs)

    def _ask_local(
        self, jobs: Sequence[ProviderJob], chosen: Sequence[int]
    ) -> dict[int, ProviderReply]:
        """The replies of the local engine to the jobs with these numbers."""
        if not chosen:
            return {}
        if not self.breaker.is_closed:
            return dict.fromkeys(chosen, self._unavailable())
        try:
            replies = self._local.score([jobs[n] for n in chosen])
        except DeviceLost as error:
            self._lost_device = self._local.info.backend
            self._lose(f"the local engine lost its device: {error}")
        except EngineUnavailable as error:
            self._lose(f"the local engine is not available: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it raises, the Hub may answer
            # The class alone: a message might quote its input.
            self._fail(type(error).__name__)
        else:
            if not _is_all_failed(replies) or self._works():
                self.breaker.succeeded()
                return dict(zip(chosen, replies, strict=True))
        return dict.fromkeys(chosen, self._unavailable())

    def _works(self) -> bool:
        """Whether the local engine scores a text of ours, where it failed on all others."""
        while self.breaker.is_closed:
            try:
                (reply,) = self._local.score([_PROBE])
            except Exception as error:  # noqa: BLE001 - it does not
                self._fail(type(error).__name__)
            else:
                if _is_scored(reply):
                    return True
                self._fail("it fails on every text")
        return False

    def _fail(self, reason: str) -> None:
        self.breaker.failed(f"the local engine failed again and again: {reason}")
        if not self.breaker.is_closed:
            self._lose(self.breaker.snapshot.reason)

    def _lose(self, reason: str) -> None:
        """The local engine is away: have it back as soon as that can be."""
        self.breaker.open(reason, self._probe_interval_s)
        self._tell()
        if self._reviving is None or not self._reviving.is_alive():
            self._reviving = threading.Thread(target=self._revive, name="sentq-revive", daemon=True)
            self._reviving.start()

    def _revive(self) -> None:
        while not self._ended.wait(self._probe_interval_s):
            try:
                self._local.start()
                (reply,) = self._local.score([_PROBE])
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
                logger.debug("the local engine is still away: %s", type(error).__name__)
                if self._lost_device and self._is_device_back(self._lost_device):
                    self._must_end = DeviceLost(f"{self._lost_device} is back for a new process")
                    return
                continue
            if _is_scored(reply):
                self.breaker.close()
                self._tell()
                return

    def _tell(self) -> None:
        if self._shared_state:
            self._shared_state.write(self.breaker.name, self.breaker.snapshot)

    def _unavailable(self) -> EngineUnavailable:
        reason = self.breaker.snapshot.reason or "the local engine failed"
        return EngineUnavailable(reason, retry_after_s=self._probe_interval_s)


def _waits(reply: ProviderReply) -> bool:
    return isinstance(reply, EngineUnavailable)


def _is_scored(reply: ProviderReply) -> bool:
    return isinstance(reply, ScoredJob) and all(isinstance(o, Prediction) for o in reply.outcomes)


def _is_all_failed(replies: Sequence[ProviderReply]) -> bool:
    """Whether the model failed on each text that it was given, and there was one."""
    outcomes = [o for reply in replies if isinstance(reply, ScoredJob) for o in reply.outcomes]
    failed = [isinstance(o, TextError) and o.code is ErrorCode.INFERENCE_FAILED for o in outcomes]
    return any(failed) and not any(isinstance(o, Prediction) for o in outcomes)
