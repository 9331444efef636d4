"""The Hub as an engine: many texts in flight, with retries, budget and circuit breaker.

    scoring (a thread) ── texts ──▶ event loop (another thread) ── calls ──▶ the Hub

The cause of a failed call may be the text or the Hub. If nothing else tells, a probe decides: if
the Hub scores the probe text, the other text is the cause and gets an error; if not, the Hub is the
cause, and the texts wait.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, TypeVar

import redis

from sentq.contract import ErrorCode, TextError
from sentq_worker.backoff import jittered_s
from sentq_worker.engine.base import EngineUnavailable, HubRefused
from sentq_worker.engine.counts import BudgetUse
from sentq_worker.providers.breaker import PROBE_TEXT, Breaker, BreakerState
from sentq_worker.providers.breaker_store import SharedBreakerState
from sentq_worker.providers.hub.budget import Budget, BudgetSpent
from sentq_worker.providers.hub.client import Fault, HubClient, HubFault

__all__ = ["HubOptions", "HubPool", "HubRequest", "HubRow"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MIN_DELAY_S: Final = 0.25
_MAX_DELAY_S: Final = 8.0

#: A text's probabilities, or the error that it ends in, or the reason why it waits.
HubRow = list[float] | TextError | EngineUnavailable


@dataclass(frozen=True, slots=True)
class HubRequest:
    """A text to score, and its deadline in seconds of the monotonic clock."""

    text: str
    until_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class HubOptions:
    """How the Hub is called. `total_timeout_s` limits one text with all its calls."""

    in_flight: int = 16
    call_timeout_s: float = 10.0
    total_timeout_s: float = 60.0
    attempts: int = 4
    retry_after_limit_s: float = 30.0
    payment_pause_s: float = 3600.0
    fails_on_budget: bool = False


class HubPool:
    """Scores texts at the Hub. `start` comes first; then one thread at a time may use it.

    Args:
        make_client: Makes the client, in the event loop of the pool.
        options: How the Hub is called.
        breaker: The circuit breaker of the Hub.
        budget: The budget of calls; None for no limit.
        shared_state: The breaker states of the host; None if they are not shared.
    """

    def __init__(
        self,
        make_client: Callable[[], HubClient],
        *,
        options: HubOptions,
        breaker: Breaker,
        budget: Budget | None = None,
        shared_state: SharedBreakerState | None = None,
    ) -> None:
        self._make_client = make_client
        self._options = options
        self.breaker = breaker
        self._budget = budget if budget and budget.is_limited else None
        self._shared_state = shared_state
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="sentq-hub", daemon=True)
        self._client: HubClient
        self._slots: asyncio.Semaphore
        #: Held while a probe finds out whether a text or the Hub is the cause of a failure.
        self._diagnosis: asyncio.Lock
        #: Whether this worker is the one of its host that probes.
        self._is_prober = False
        #: When the Hub last responded properly, by the monotonic clock.
        self._last_success_at = float("-inf")
        #: When a call last ended, by the monotonic clock.
        self.progress_at = float("-inf")
        #: Calls that were made, by their result: `ok`, or the kind of the fault.
        self.calls: Counter[str] = Counter({"ok": 0} | {fault.name.lower(): 0 for fault in Fault})

    @property
    def budget_uses(self) -> tuple[BudgetUse, ...]:
        """See `Budget.uses`; empty without a limit."""
        return self._budget.uses if self._budget else ()

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The model's labels; None before its first response."""
        return self._client.labels

    def start(self) -> None:
        """Find out whether the Hub works, and which labels the model has.

        If the Hub is unavailable now, this happens with the first texts.

        Raises:
            HubRefused: The Hub rejects the token or the model.
        """
        self._thread.start()
        self._run(self._open())
        shared = self._shared_state.read(self.breaker.name) if self._shared_state else None
        # A stopped breaker of an earlier process does not count: this is the restart.
        if shared and shared.state is BreakerState.OPEN:
            self.breaker.adopt(shared, even_if_older=True)
        if not self.breaker.is_closed:
            return
        unavailable = self._run(self._check_model())
        self._exchange_state()
        if unavailable and self.breaker.state is BreakerState.STOPPED:
            raise HubRefused(str(unavailable))
        if unavailable:
            logger.warning("%s", unavailable)

    def stop(self) -> None:
        """Close the connections, and end the thread."""
        if self._thread.is_alive():
            self._run(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def disable(self, reason: str) -> None:
        """Make no more calls until the worker is restarted."""
        self.breaker.stop(reason)
        self._exchange_state()

    def predict(self, requests: Sequence[HubRequest]) -> list[HubRow]:
        """Score texts, many at once.

        Returns:
            A row for each text, in order: its probabilities in the order of `labels`, a
            `TextError` if the Hub cannot score this text, or an `EngineUnavailable` if the text
            may be scored later.
        """
        self._exchange_state()
        rows = self._run(self._predict(requests))
        self._exchange_state()
        if self._shared_state and self._is_prober:
            self._is_prober = False
            self._shared_state.end_probe(self.breaker.name)
        return rows

    def _exchange_state(self) -> None:
        if self._shared_state:
            self._shared_state.exchange(self.breaker)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _run(self, coroutine: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _open(self) -> None:
        self._client = self._make_client()
        self._slots = asyncio.Semaphore(self._options.in_flight)
        self._diagnosis = asyncio.Lock()

    async def _predict(self, requests: Sequence[HubRequest]) -> list[HubRow]:
        if unavailable := await self._ensure_usable():
            return [unavailable] * len(requests)
        # The watchdog of the worker must see batches end, however many texts the Hub delays.
        start_by = time.monotonic() + self._options.total_timeout_s
        return list(
            await asyncio.gather(*(self._score(request, start_by=start_by) for request in requests))
        )

    async def _ensure_usable(self) -> EngineUnavailable | None:
        """Probe if a probe is due; return why the Hub may not be called, or None."""
        breaker = self.breaker
        if breaker.is_closed and self.labels is not None:
            return None
        may_probe = breaker.is_closed or (
            breaker.is_probe_due and await self._acquire_probe() and breaker.begin_probe()
        )
        return await self._probe() if may_probe else self._unavailable()

    async def _check_model(self) -> EngineUnavailable | None:
        try:
            await self._client.look_up()
        except HubFault as fault:
            self._record_fault(fault, fault.kind)
            return self._unavailable()
        return await self._probe()

    async def _acquire_probe(self) -> bool:
        if self._shared_state is None:
            return True
        name, for_s = self.breaker.name, self._options.call_timeout_s
        self._is_prober = await asyncio.to_thread(self._shared_state.may_probe, name, for_s=for_s)
        return self._is_prober

    async def _probe(self) -> EngineUnavailable | None:
        """Score a probe text, in one call; return why that failed, or None."""
        try:
            await self._call(PROBE_TEXT)
        except HubFault as fault:
            # A Hub that rejects the probe text scores no text.
            self._record_fault(fault, Fault.FAILED if fault.kind in _TEXT_ERRORS else fault.kind)
            if self.breaker.state is BreakerState.HALF_OPEN:
                self.breaker.open(str(fault), fault.retry_after_s)
            return self._unavailable(str(fault))
        except EngineUnavailable as unavailable:
            if self.breaker.state is BreakerState.HALF_OPEN:
                self.breaker.open(str(unavailable))
            return unavailable
        return None

    async def _score(self, request: HubRequest, *, start_by: float) -> HubRow:
        """Score one text, with as many calls as it needs, may have, and has time for."""
        started_at: float | None = None
        for attempt in count(1):
            async with self._slots:
                now = time.monotonic()
                if started_at is None and now > start_by:
                    return EngineUnavailable("the Hub is slow", retry_after_s=0.0)
                started_at = started_at or now
                left_s = min(
                    _remaining_s(request), started_at + self._options.total_timeout_s - now
                )
                if left_s <= 0 or not self.breaker.is_closed:
                    break
                try:
                    return await self._call(request.text, timeout_s=left_s)
                except BudgetSpent as spent:
                    return _OVER_BUDGET if self._options.fails_on_budget else spent
                except EngineUnavailable as unavailable:
                    return unavailable
                except HubFault as error:
                    fault = error
            if _remaining_s(request) <= 0:
                break  # The call had less time than others have, and proves nothing.
            self._record_fault(fault, fault.kind)
            delay_s = self._delay_s(fault, attempt)
            is_over = time.monotonic() + delay_s >= started_at + self._options.total_timeout_s
            if is_over or attempt >= self._max_attempts(fault):
                return await self._final_row(fault, started_at)
            if delay_s >= _remaining_s(request):
                break
            await asyncio.sleep(delay_s)
        return _TOO_LATE if _remaining_s(request) <= _MIN_DELAY_S else self._unavailable()

    async def _call(self, text: str, *, timeout_s: float | None = None) -> list[float]:
        """Reserve one call and make it.

        Raises:
            HubFault: The call returned no probabilities.
            EngineUnavailable: The call was not permitted.
        """
        if self._budget:
            try:
                await asyncio.to_thread(self._budget.reserve, len(text))
            except redis.RedisError as error:
                raise EngineUnavailable(
                    f"calls to the Hub cannot be counted ({type(error).__name__}), so none are made"
                ) from None
        try:
            row = await self._client.classify(text, timeout_s=timeout_s)
        except HubFault as fault:
            self.calls[fault.kind.name.lower()] += 1
            raise
        finally:
            self.progress_at = time.monotonic()
        self.calls["ok"] += 1
        self._record_success()
        return row

    def _record_success(self) -> None:
        self._last_success_at = time.monotonic()
        self.breaker.record_success()

    def _record_fault(self, fault: HubFault, kind: Fault) -> None:
        """Change the breaker as the kind of a fault demands."""
        reason = f"the Hub cannot be used: {fault}"
        match kind:
            case Fault.FAILED:
                self.breaker.record_failure(reason)
            case Fault.TEXT:
                self._record_success()
            case Fault.PAYMENT_REQUIRED:
                self.breaker.open(reason, self._options.payment_pause_s)
            case Fault.REDIRECTED:
                self.breaker.open(reason)
            case Fault.REJECTED:
                self.breaker.stop(reason)

    def _max_attempts(self, fault: HubFault) -> int:
        if fault.kind is Fault.NONFINITE:
            return min(2, self._options.attempts)
        return self._options.attempts if fault.is_transient else 1

    def _delay_s(self, fault: HubFault, attempt: int) -> float:
        jittered = jittered_s(attempt, least_s=_MIN_DELAY_S, most_s=_MAX_DELAY_S)
        return min(fault.retry_after_s or jittered, self._options.retry_after_limit_s)

    async def _final_row(self, fault: HubFault, started_at: float) -> HubRow:
        """Return the row of a text that is not retried."""
        if fault.kind in _TEXT_ERRORS:
            return _TEXT_ERRORS[fault.kind]
        if fault.kind is Fault.BUSY:
            self.breaker.open(f"the Hub cannot be used: {fault}", fault.retry_after_s)
        if self.breaker.is_closed:
            # One text at a time: the next one may find the result of this one's probe.
            async with self._diagnosis:
                is_text_the_cause = self._last_success_at > started_at
                if not is_text_the_cause and self.breaker.is_closed:
                    is_text_the_cause = await self._probe() is None
                if is_text_the_cause:
                    return _FAILED
            if self.breaker.is_closed:
                self.breaker.open(f"the Hub cannot be used: {fault}")
        return self._unavailable()

    def _unavailable(self, reason: str | None = None) -> EngineUnavailable:
        return EngineUnavailable(
            reason or self.breaker.snapshot.reason or "the Hub did not respond in time",
            retry_after_s=self.breaker.retry_after_s,
        )


def _remaining_s(request: HubRequest) -> float:
    return request.until_s - time.monotonic()


_FAILED: Final = TextError(
    code=ErrorCode.INFERENCE_FAILED, message="the Hub failed on this text, and on no other"
)
_REJECTED: Final = TextError(code=ErrorCode.INFERENCE_FAILED, message="the Hub rejects this text")
_NONFINITE: Final = TextError(
    code=ErrorCode.NONFINITE, message="the Hub's scores for this text are not finite numbers"
)
_OVER_BUDGET: Final = TextError(
    code=ErrorCode.BUDGET_EXHAUSTED, message="the budget of calls to the Hub is used up"
)
_TOO_LATE: Final = TextError(
    code=ErrorCode.DEADLINE_PASSED, message="the deadline passed before the Hub responded"
)
_TEXT_ERRORS: Final = {Fault.TEXT: _REJECTED, Fault.NONFINITE: _NONFINITE}
