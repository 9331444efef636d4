"""The Hub as an engine: many texts in flight, retries, budget and breaker.

    scoring (a thread) ── texts ──▶ event loop (a thread of ours) ── calls ──▶ the Hub

A call that fails may fail for the text's sake or for the Hub's. Where nothing else tells, a text
of ours decides: if the Hub scores that, the other text is to blame, and ends in an error; if not,
the Hub is, and the texts wait.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, TypeVar

import redis

from sentq.contract import ErrorCode, TextError
from sentq_worker.backoff import jittered_s
from sentq_worker.engine.base import EngineUnavailable, HubRefused
from sentq_worker.providers.breaker import Breaker, BreakerState
from sentq_worker.providers.breaker_store import SharedBreakerState
from sentq_worker.providers.hub.budget import Budget, BudgetSpent
from sentq_worker.providers.hub.client import Fault, HubClient, HubFault

__all__ = ["HubOptions", "HubPool", "HubRequest", "HubRow"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: What a call that asks nothing says.
PROBE: Final = "good"

_LEAST_DELAY_S: Final = 0.25
_MOST_DELAY_S: Final = 8.0

#: One text's probabilities, or why there are none, or why there are none yet.
HubRow = list[float] | TextError | EngineUnavailable


@dataclass(frozen=True, slots=True)
class HubRequest:
    """A text to score, and until when, in seconds of the monotonic clock."""

    text: str
    until_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class HubOptions:
    """How the Hub is asked. `total_timeout_s` bounds one text with all its calls."""

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
        make_remote: Makes what calls, in our event loop.
        breaker: Whether the Hub may be asked.
        budget: How much; None where there is no limit.
        verdicts: What other workers of the host know; None keeps it to this one.
    """

    def __init__(
        self,
        make_remote: Callable[[], HubClient],
        *,
        options: HubOptions,
        breaker: Breaker,
        budget: Budget | None = None,
        shared_state: SharedBreakerState | None = None,
    ) -> None:
        self._make_remote = make_remote
        self._options = options
        self.breaker = breaker
        self._budget = budget if budget and budget.is_limited else None
        self._shared_state = shared_state
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="sentq-hub", daemon=True)
        self._remote: HubClient
        self._slots: asyncio.Semaphore
        self._blaming: asyncio.Lock
        #: Whether others of the host leave it to us to probe.
        self._is_probing = False
        #: When the Hub last answered, by the monotonic clock.
        self._answered_at = float("-inf")

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The model's labels; None before it has answered once."""
        return self._remote.labels

    def start(self) -> None:
        """Find out whether the Hub answers, and which labels the model has. Where it cannot tell
        now, that happens with the first texts.

        Raises:
            HubRefused: The Hub refuses the token or the model.
        """
        self._thread.start()
        self._call(self._open())
        known = self._shared_state.read(self.breaker.name) if self._shared_state else None
        # What was stopped until a restart no longer is: this is one.
        if known and known.state is BreakerState.OPEN:
            self.breaker.adopt(known, is_older=True)
        if not self.breaker.is_closed:
            return
        unavailable = self._call(self._first())
        self._tell()
        if unavailable and self.breaker.state is BreakerState.STOPPED:
            raise HubRefused(str(unavailable))
        if unavailable:
            logger.warning("%s", unavailable)

    def stop(self) -> None:
        """Close the connections, and end the thread."""
        if self._thread.is_alive():
            self._call(self._remote.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def refuse(self, reason: str) -> None:
        """Ask no more before a restart."""
        self.breaker.stop(reason)
        self._tell()

    def predict(self, asks: Sequence[HubRequest]) -> list[HubRow]:
        """Score texts, many at once; the rows are in their order, the probabilities in that of
        `labels`.

        A text that the Hub cannot score for its own sake ends in a `TextError`. What could be
        scored later holds an `EngineUnavailable`.
        """
        self._tell()
        rows = self._call(self._predict(asks))
        self._tell()
        if self._shared_state and self._is_probing:
            self._is_probing = False
            self._shared_state.end_probe(self.breaker.name)
        return rows

    def _tell(self) -> None:
        if self._shared_state:
            self._shared_state.exchange(self.breaker)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _open(self) -> None:
        self._remote = self._make_remote()
        self._slots = asyncio.Semaphore(self._options.in_flight)
        self._blaming = asyncio.Lock()

    async def _predict(self, asks: Sequence[HubRequest]) -> list[HubRow]:
        if unavailable := await self._until_usable():
            return [unavailable] * len(asks)
        # Whoever watches the engine must see rounds end, however many texts the Hub makes wait.
        begin_by = time.monotonic() + self._options.total_timeout_s
        return list(await asyncio.gather(*(self._row(ask, begin_by=begin_by) for ask in asks)))

    async def _until_usable(self) -> EngineUnavailable | None:
        """Probe where that is due; returns why the Hub may not be asked, where it may not."""
        breaker = self.breaker
        if breaker.is_closed and self.labels is not None:
            return None
        may_probe = breaker.is_closed or (
            breaker.is_due and await self._is_prober() and breaker.begin_probe()
        )
        return await self._probe() if may_probe else self._waits()

    async def _first(self) -> EngineUnavailable | None:
        try:
            await self._remote.look_up()
        except HubFault as fault:
            self._note(fault, fault.kind)
            return self._waits()
        return await self._probe()

    async def _is_prober(self) -> bool:
        if self._shared_state is None:
            return True
        name, for_s = self.breaker.name, self._options.call_timeout_s
        self._is_probing = await asyncio.to_thread(self._shared_state.may_probe, name, for_s=for_s)
        return self._is_probing

    async def _probe(self) -> EngineUnavailable | None:
        """Score a text of ours, in one call; returns why that did not work, where it did not."""
        try:
            await self._attempt(PROBE)
        except HubFault as fault:
            # A Hub that refuses this text scores none.
            self._note(fault, Fault.FAILED if fault.kind in _OF_TEXTS else fault.kind)
            if self.breaker.state is BreakerState.HALF_OPEN:
                self.breaker.open(str(fault), fault.retry_after_s)
            return self._waits(str(fault))
        except EngineUnavailable as unavailable:
            if self.breaker.state is BreakerState.HALF_OPEN:
                self.breaker.open(str(unavailable))
            return unavailable
        return None

    async def _row(self, ask: HubRequest, *, begin_by: float) -> HubRow:
        """One text, with as many calls as it takes, permits and has time for."""
        begun: float | None = None
        for attempt in count(1):
            async with self._slots:
                now = time.monotonic()
                if begun is None and now > begin_by:
                    return EngineUnavailable("the Hub is slow", retry_after_s=0.0)
                begun = begun or now
                left_s = min(_left_s(ask), begun + self._options.total_timeout_s - now)
                if left_s <= 0 or not self.breaker.is_closed:
                    break
                try:
                    return await self._attempt(ask.text, timeout_s=left_s)
                except BudgetSpent as spent:
                    return _OVER_BUDGET if self._options.fails_on_budget else spent
                except EngineUnavailable as unavailable:
                    return unavailable
                except HubFault as error:
                    fault = error
            if _left_s(ask) <= 0:
                break  # It was given less time than a call may take, and proves nothing.
            self._note(fault, fault.kind)
            delay_s = self._delay_s(fault, attempt)
            is_over = time.monotonic() + delay_s >= begun + self._options.total_timeout_s
            if is_over or attempt >= self._attempts(fault):
                return await self._given_up(fault, begun)
            if delay_s >= _left_s(ask):
                break
            await asyncio.sleep(delay_s)
        return _TOO_LATE if _left_s(ask) <= _LEAST_DELAY_S else self._waits()

    async def _attempt(self, text: str, *, timeout_s: float | None = None) -> list[float]:
        """One call, once it is reserved.

        Raises:
            HubFault: It brought nothing.
            EngineUnavailable: It may not be made.
        """
        if self._budget:
            try:
                await asyncio.to_thread(self._budget.reserve, len(text))
            except redis.RedisError as error:
                raise EngineUnavailable(
                    f"calls to the Hub cannot be counted ({type(error).__name__}), so none are made"
                ) from None
        row = await self._remote.classify(text, timeout_s=timeout_s)
        self._answered()
        return row

    def _answered(self) -> None:
        self._answered_at = time.monotonic()
        self.breaker.succeeded()

    def _note(self, fault: HubFault, kind: Fault) -> None:
        """Draw what follows for everybody from one call's fault."""
        reason = f"the Hub cannot be used: {fault}"
        match kind:
            case Fault.FAILED:
                self.breaker.failed(reason)
            case Fault.TEXT:
                self._answered()
            case Fault.PAYMENT_REQUIRED:
                self.breaker.open(reason, self._options.payment_pause_s)
            case Fault.REDIRECTED:
                self.breaker.open(reason)
            case Fault.REJECTED:
                self.breaker.stop(reason)

    def _attempts(self, fault: HubFault) -> int:
        if fault.kind is Fault.NONFINITE:
            return min(2, self._options.attempts)
        return self._options.attempts if fault.may_pass else 1

    def _delay_s(self, fault: HubFault, attempt: int) -> float:
        jittered = jittered_s(attempt, least_s=_LEAST_DELAY_S, most_s=_MOST_DELAY_S)
        return min(fault.retry_after_s or jittered, self._options.retry_after_limit_s)

    async def _given_up(self, fault: HubFault, begun: float) -> HubRow:
        """What becomes of a text that is not asked for again."""
        if fault.kind in _OF_TEXTS:
            return _OF_TEXTS[fault.kind]
        if fault.kind is Fault.BUSY:
            self.breaker.open(f"the Hub cannot be used: {fault}", fault.retry_after_s)
        if self.breaker.is_closed:
            # One at a time: whoever comes next may find the answer.
            async with self._blaming:
                is_blamed = self._answered_at > begun
                if not is_blamed and self.breaker.is_closed:
                    is_blamed = await self._probe() is None
                if is_blamed:
                    return _FAILED
            if self.breaker.is_closed:
                self.breaker.open(f"the Hub cannot be used: {fault}")
        return self._waits()

    def _waits(self, reason: str | None = None) -> EngineUnavailable:
        return EngineUnavailable(
            reason or self.breaker.snapshot.reason or "the Hub did not answer in time",
            retry_after_s=self.breaker.retry_after_s,
        )


def _left_s(ask: HubRequest) -> float:
    return ask.until_s - time.monotonic()


_FAILED: Final = TextError(
    code=ErrorCode.INFERENCE_FAILED, message="the Hub failed on this text, and on no other"
)
_REFUSED: Final = TextError(
    code=ErrorCode.INFERENCE_FAILED, message="the Hub refuses to score this text"
)
_NONFINITE: Final = TextError(
    code=ErrorCode.NONFINITE, message="the Hub's scores for this text are not numbers"
)
_OVER_BUDGET: Final = TextError(
    code=ErrorCode.BUDGET_EXHAUSTED, message="the budget of calls to the Hub is spent"
)
_TOO_LATE: Final = TextError(
    code=ErrorCode.DEADLINE_PASSED, message="the deadline passed before the Hub had answered"
)
_OF_TEXTS: Final = {Fault.TEXT: _REFUSED, Fault.NONFINITE: _NONFINITE}
