"""A provider of two: the local engine, and the Hub as its fallback.

                    ┌─ local only, or the queue's policy ─▶ the local engine, or wait
    a job ──────────┼─ prefer-local ──▶ the local engine; if unavailable ▶ the Hub, or wait
                    └─ hub ───────────────────────────────▶ the Hub, or wait

The local engine is unavailable if it could not be loaded, lost its device, raised
`EngineUnavailable`, or failed several times in a row. Then a thread loads it again and has it score
a probe text, until that succeeds. The Hub has a circuit breaker of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from sentq.contract import (
    MAIN_MODEL,
    NO_OPTIONS,
    Detail,
    ErrorCode,
    JobOptions,
    Prediction,
    TextError,
)
from sentq.wire.roll.report import RollReport
from sentq.wire.roll.state import RollState
from sentq_worker.engine.base import (
    DeviceLost,
    EngineError,
    EngineInfo,
    EngineUnavailable,
    HubRefused,
)
from sentq_worker.engine.counts import EngineCounts, counts_of
from sentq_worker.engine.provider import (
    BreakerStates,
    Provider,
    ProviderJob,
    ProviderReply,
    ScoredJob,
    SupportsProgress,
    SupportsRoll,
    models_of,
    provider_steps,
    roll_of,
)
from sentq_worker.engine.steps import Steps, run_steps
from sentq_worker.providers.breaker import PROBE_TEXT, Breaker
from sentq_worker.providers.breaker_store import SharedBreakerState
from sentq_worker.settings import ProviderPolicy

__all__ = ["FallbackProvider"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _ProbeJob:
    """The job of a probe: it shows whether the local engine works."""

    id: str = ""
    texts: Sequence[object] = (PROBE_TEXT,)
    asked: JobOptions = NO_OPTIONS
    is_local_only: bool = True
    detail: Detail | None = None
    deadline_ms: float | None = None
    sent_at_ms: float | None = None
    queue: str = ""


_PROBE: Final = _ProbeJob()


class FallbackProvider:
    """Scores jobs with one of two providers, as the policy of each job's queue says.

    A job whose texts must stay on this machine never reaches the Hub, under any policy. Nor does
    one that asks for a further local model: the Hub has only one model.

    Args:
        local: The provider with the local engine. `start` loads it, also a second time.
        hub: The provider that calls the Hub.
        policy: Returns the provider policy of a queue.
        breaker: The circuit breaker of the local engine.
        probe_interval_s: Time between two attempts to load the local engine again, in seconds.
        backlog_limit_s: Jobs that waited for longer go to the Hub although the local engine
            works, if their policy allows it. None if the backlog does not matter.
        now_ms: Returns Redis' time in Unix milliseconds. The clock of a host may be wrong by hours,
            and texts would then go to the Hub without need.
        shared_state: Where the state of the local engine is written for operators.
        is_device_back: Returns whether a new process could use the device, named as in outcomes,
            that this process has lost.
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
        now_ms: Callable[[], float] = lambda: time.time() * 1000,
        shared_state: SharedBreakerState | None = None,
        is_device_back: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._local = local
        self._hub = hub
        self._policy = policy
        self.breaker = breaker
        self._probe_interval_s = probe_interval_s
        self._backlog_limit_s = backlog_limit_s
        self._now_ms = now_ms
        self._shared_state = shared_state
        self._is_device_back = is_device_back
        self._lost_device: str | None = None
        #: Raised by `score` once only a new process can use the device.
        self._needs_new_process: DeviceLost | None = None
        self._hub_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sentq-fallback")
        self._recovery: threading.Thread | None = None
        self._stopped = threading.Event()

    @property
    def info(self) -> EngineInfo:
        """See `Provider.info`."""
        return self._local.info if self.breaker.is_closed else self._hub.info

    @property
    def models(self) -> Mapping[str, EngineInfo]:
        """See `SupportsModels`."""
        return models_of(self._local)

    @property
    def roll(self) -> RollReport | None:
        """See `SupportsRoll`."""
        return roll_of(self._local)

    def follow(self, state: RollState, *, waits: bool = False) -> None:
        """See `SupportsRoll`."""
        if isinstance(self._local, SupportsRoll):
            self._local.follow(state, waits=waits)

    @property
    def breaker_states(self) -> BreakerStates:
        """See `Provider.breaker_states`."""
        return self._hub.breaker_states._replace(local=self.breaker.state)

    @property
    def counts(self) -> EngineCounts:
        """See `SupportsCounts`."""
        return counts_of(self._local) + counts_of(self._hub)

    @property
    def is_usable(self) -> bool:
        """See `Provider.is_usable`."""
        return self.breaker.is_closed or self._hub.is_usable

    @property
    def progress_at(self) -> float:
        """See `SupportsProgress`."""
        hub = self._hub
        return hub.progress_at if isinstance(hub, SupportsProgress) else float("-inf")

    def start(self) -> None:
        """See `Provider.start`.

        A local engine that cannot start is unavailable, and no error. Nor is a Hub that rejects
        the token or the model, as long as the local engine works.
        """
        try:
            self._local.start()
        except EngineError as error:
            self._set_unavailable(f"the local engine cannot start: {error}")
        try:
            self._hub.start()
        except HubRefused:
            if not self.breaker.is_closed:
                raise

    def stop(self) -> None:
        """See `Provider.stop`."""
        self._stopped.set()
        self._hub_thread.shutdown(wait=False, cancel_futures=True)
        self._local.stop()
        self._hub.stop()
        if self._shared_state:
            self._shared_state.forget(self.breaker.name)

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """See `Provider.prefetch`."""
        if local := [job for job in jobs if self._goes_to_local(job)]:
            self._local.prefetch(local)

    def score(self, jobs: Sequence[ProviderJob]) -> list[ProviderReply]:
        """See `Provider.score`. Both providers score their jobs at the same time.

        Raises:
            DeviceLost: The device is available again, and only a new process can use it.
        """
        return run_steps(self.score_in_steps(jobs))

    def score_in_steps(self, jobs: Sequence[ProviderJob]) -> Steps[list[ProviderReply]]:
        """See `SupportsProviderSteps`. Only the local engine pauses.

        Raises:
            DeviceLost: The device is available again, and only a new process can use it.
        """
        if self._needs_new_process is not None:
            raise self._needs_new_process
        replies: dict[int, ProviderReply] = {}
        local = {n for n, job in enumerate(jobs) if self._goes_to_local(job)}
        hub = [n for n in range(len(jobs)) if n not in local]
        pending = self._begin_at_hub([jobs[n] for n in hub]) if hub else None
        replies.update((yield from self._score_locally(jobs, sorted(local))))
        if pending is not None:
            replies.update(zip(hub, pending.result(), strict=True))
        # A job that one provider could not score may be scored by the other.
        for_hub = [n for n in local if _is_waiting(replies[n]) and self._may_use_hub(jobs[n])]
        if for_hub:
            scored = self._begin_at_hub([jobs[n] for n in for_hub]).result()
            replies.update(zip(for_hub, scored, strict=True))
        for_local = [n for n in hub if _is_waiting(replies[n]) and self._may_use_local(jobs[n])]
        if for_local and self.breaker.is_closed:
            replies.update((yield from self._score_locally(jobs, for_local)))
        return [replies[n] for n in range(len(jobs))]

    def _may_use_hub(self, job: ProviderJob) -> bool:
        return not _is_for_local(job) and self._policy(job.queue) != "local"

    def _may_use_local(self, job: ProviderJob) -> bool:
        return _is_for_local(job) or self._policy(job.queue) != "hub"

    def _goes_to_local(self, job: ProviderJob) -> bool:
        """Return whether the local engine is the first choice for a job."""
        if not self._may_use_hub(job):
            return True
        if not self._may_use_local(job) or not self.breaker.is_closed:
            return False
        limit_s, sent_ms = self._backlog_limit_s, job.sent_at_ms
        return limit_s is None or sent_ms is None or self._now_ms() - sent_ms <= limit_s * 1000

    def _begin_at_hub(self, jobs: Sequence[ProviderJob]) -> Future[list[ProviderReply]]:
        """Have the Hub score jobs. Always in one thread: in a pause of the local engine, another
        batch may ask the Hub as well."""
        return self._hub_thread.submit(self._score_at_hub, jobs)

    def _score_at_hub(self, jobs: Sequence[ProviderJob]) -> list[ProviderReply]:
        try:
            return self._hub.score(jobs)
        except EngineUnavailable as error:
            return [error] * len(jobs)

    def _score_locally(
        self, jobs: Sequence[ProviderJob], numbers: Sequence[int]
    ) -> Steps[dict[int, ProviderReply]]:
        """Return the local engine's replies to the jobs with these numbers, by number."""
        if not numbers:
            return {}
        if not self.breaker.is_closed:
            return dict.fromkeys(numbers, self._unavailable())
        try:
            replies = yield from provider_steps(self._local, [jobs[n] for n in numbers])
        except DeviceLost as error:
            self._lost_device = self._local.info.backend
            self._set_unavailable(f"the local engine lost its device: {error}")
        except EngineUnavailable as error:
            self._set_unavailable(f"the local engine is not available: {error}")
        except Exception as error:  # noqa: BLE001 - after any error the Hub may score the jobs
            # The class alone: a message might quote a text.
            self._record_failure(type(error).__name__)
        else:
            if not _is_all_failed(replies) or self._passes_probe():
                self.breaker.record_success()
                return dict(zip(numbers, replies, strict=True))
        return dict.fromkeys(numbers, self._unavailable())

    def _passes_probe(self) -> bool:
        """Return whether the local engine scores a probe text, after it failed on all others."""
        while self.breaker.is_closed:
            try:
                (reply,) = self._local.score([_PROBE])
            except Exception as error:  # noqa: BLE001 - any error fails the probe
                self._record_failure(type(error).__name__)
            else:
                if _is_scored(reply):
                    return True
                self._record_failure("it fails on every text")
        return False

    def _record_failure(self, reason: str) -> None:
        self.breaker.record_failure(f"the local engine failed repeatedly: {reason}")
        if not self.breaker.is_closed:
            self._set_unavailable(self.breaker.snapshot.reason)

    def _set_unavailable(self, reason: str) -> None:
        """Open the breaker of the local engine, and begin to recover it."""
        self.breaker.open(reason, self._probe_interval_s)
        self._write_state()
        if self._recovery is None or not self._recovery.is_alive():
            self._recovery = threading.Thread(
                target=self._recover, name="sentq-recovery", daemon=True
            )
            self._recovery.start()

    def _recover(self) -> None:
        while not self._stopped.wait(self._probe_interval_s):
            try:
                self._local.start()
                (reply,) = self._local.score([_PROBE])
            except Exception as error:  # noqa: BLE001 - after any error it is tried again
                logger.debug("the local engine is still unavailable: %s", type(error).__name__)
                if self._lost_device and self._is_device_back(self._lost_device):
                    self._needs_new_process = DeviceLost(
                        f"{self._lost_device} is back for a new process"
                    )
                    return
                continue
            if _is_scored(reply):
                self.breaker.close()
                self._write_state()
                return

    def _write_state(self) -> None:
        if self._shared_state:
            self._shared_state.write(self.breaker.name, self.breaker.snapshot)

    def _unavailable(self) -> EngineUnavailable:
        reason = self.breaker.snapshot.reason or "the local engine failed"
        return EngineUnavailable(reason, retry_after_s=self._probe_interval_s)


def _is_for_local(job: ProviderJob) -> bool:
    """Return whether only the local engine may score a job, under any policy."""
    return job.is_local_only or job.asked.model not in (None, MAIN_MODEL)


def _is_waiting(reply: ProviderReply) -> bool:
    return isinstance(reply, EngineUnavailable)


def _is_scored(reply: ProviderReply) -> bool:
    return isinstance(reply, ScoredJob) and all(isinstance(o, Prediction) for o in reply.outcomes)


def _is_all_failed(replies: Sequence[ProviderReply]) -> bool:
    """Return whether the model failed on each of the texts that it got, at least one."""
    outcomes = [o for reply in replies if isinstance(reply, ScoredJob) for o in reply.outcomes]
    failed = [isinstance(o, TextError) and o.code is ErrorCode.INFERENCE_FAILED for o in outcomes]
    return any(failed) and not any(isinstance(o, Prediction) for o in outcomes)
