"""Jobs in, answers out, by the Hub: check, cut into windows, ask, join.

The last gate before texts leave: a job whose texts may not is stopped here, whoever sent it on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from sentq.contract import ErrorCode, Limits, Outcome, TextError
from sentq_worker.engine.base import EngineInfo, EngineUnavailable, ModelUnavailable
from sentq_worker.engine.provider import BreakerStates, ProviderJob, ProviderReply, ScoredJob
from sentq_worker.providers.breaker import Breaker
from sentq_worker.providers.hub.pool import HubPool, HubRequest, HubRow
from sentq_worker.providers.hub.windows import TextWindows, Windower
from sentq_worker.scoring.labels import Labels
from sentq_worker.scoring.preprocess import find_problem
from sentq_worker.scoring.windows import join
from sentq_worker.settings import JoinRule

__all__ = ["HubProvider"]

#: Windows that were scored for jobs which wait for the rest of theirs: kept, for they were paid.
_MOST_PAID: Final = 10_000


class HubProvider:
    """Answers jobs by the Hub.

    Args:
        make: Makes, at the start, what scores windows, and what cuts a text into them.
        breaker: Of the Hub: whether it may be asked.
        model: What outcomes call the model.
        limits: The contract's.
        now_ms: Redis' clock, by which deadlines are told.
        renamed: Other names for the model's labels.
        expected_labels: The names that the other engine gives; None where there is none, or
            nobody knows yet.
        window_join: How windows' probabilities become the text's.
    """

    def __init__(
        self,
        make: Callable[[], tuple[HubPool, Windower]],
        *,
        breaker: Breaker,
        model: str,
        limits: Limits,
        now_ms: Callable[[], float],
        renamed: Mapping[str, str],
        expected_labels: Callable[[], Sequence[str] | None] = lambda: None,
        window_join: JoinRule = "mean",
    ) -> None:
        self._make = make
        self._hub: HubPool | None = None
        self._cut: Windower
        #: Whether the Hub may be asked.
        self.breaker = breaker
        self._model = model
        self._limits = limits
        self._now_ms = now_ms
        self._renamed = renamed
        self._expected = expected_labels
        self._join: JoinRule = window_join
        self._labels: Labels | None = None
        self._paid: dict[str, HubRow] = {}

    @property
    def info(self) -> EngineInfo:
        """See `Provider.info`. No revision: the Hub lets nobody pin one."""
        names = self._labels.names if self._labels else ()
        return EngineInfo(self._model, None, "hub", "remote", names)

    @property
    def breaker_states(self) -> BreakerStates:
        """See `Provider.breaker_states`."""
        return BreakerStates(hub=self.breaker.state)

    @property
    def is_usable(self) -> bool:
        """See `Provider.is_usable`."""
        return self.breaker.is_closed

    def start(self) -> None:
        """See `Provider.start`."""
        self._hub, self._cut = self._make()
        self._hub.start()
        self._agree(self._hub)

    def stop(self) -> None:
        """See `Provider.stop`."""
        if self._hub is not None:
            self._hub.stop()

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """See `Provider.prefetch`. Nothing is read here."""

    def score(self, jobs: Sequence[ProviderJob]) -> list[ProviderReply]:
        """See `Provider.score`. A job of which a part could not be scored waits as a whole; what
        was scored of it is not asked for again."""
        hub = self._hub
        if hub is None:
            raise RuntimeError("nobody can be asked: start comes first")
        now_ms, now = self._now_ms(), time.monotonic()
        plans = [self._plan(job) for job in jobs]
        until: dict[str, float] = {}
        for job, plan in zip(jobs, plans, strict=True):
            left_ms = float("inf") if job.deadline_ms is None else job.deadline_ms - now_ms
            for part in _parts(plan):
                if part not in self._paid:
                    until[part] = max(until.get(part, 0.0), now + left_ms / 1000)
        rows = hub.predict([HubRequest(part, at) for part, at in until.items()]) if until else []
        known = self._paid | dict(zip(until, rows, strict=True))
        unavailable = self._disagreement(hub)
        replies = [unavailable or self._reply(plan, known) for plan in plans]
        self._keep_paid(plans, replies, known)
        return replies

    def _plan(self, job: ProviderJob) -> list[TextError | TextWindows]:
        if job.is_local_only:
            return [_MAY_NOT_LEAVE] * len(job.texts)
        return [self._slices(text) for text in job.texts]

    def _slices(self, text: object) -> TextError | TextWindows:
        problem = find_problem(text, self._limits)
        if problem is not None or not isinstance(text, str):
            return problem or _MAY_NOT_LEAVE
        return self._cut(text)

    def _reply(
        self, plan: Sequence[TextError | TextWindows], known: Mapping[str, HubRow]
    ) -> ProviderReply:
        outcomes: list[Outcome] = []
        for slices in plan:
            outcome = slices if isinstance(slices, TextError) else self._outcome(slices, known)
            if isinstance(outcome, EngineUnavailable):
                return outcome
            outcomes.append(outcome)
        return ScoredJob(outcomes, self.info)

    def _outcome(
        self, slices: TextWindows, known: Mapping[str, HubRow]
    ) -> Outcome | EngineUnavailable:
        rows: list[list[float]] = []
        for part in slices.parts:
            row = known[part]
            if not isinstance(row, list):
                return row
            rows.append(row)
        if self._labels is None:
            return EngineUnavailable("the labels of the Hub's model are not known")
        return self._labels.prediction(
            join(slices.tokens, rows, rule=self._join),
            tokens=slices.tokens.tokens,
            windows=len(rows),
        )

    def _keep_paid(
        self,
        plans: Sequence[Sequence[TextError | TextWindows]],
        replies: Sequence[ProviderReply],
        known: Mapping[str, HubRow],
    ) -> None:
        """Remember what was scored for jobs that wait; forget it when they are answered."""
        for plan, reply in zip(plans, replies, strict=True):
            for part in _parts(plan):
                if isinstance(reply, ScoredJob):
                    self._paid.pop(part, None)
                elif not isinstance(known[part], EngineUnavailable):
                    self._paid[part] = known[part]
        while len(self._paid) > _MOST_PAID:
            del self._paid[next(iter(self._paid))]

    def _disagreement(self, hub: HubPool) -> EngineUnavailable | None:
        """Why nothing that the Hub says may be used, where its labels are not the ones expected;
        found out as soon as both are known."""
        try:
            self._agree(hub)
        except ModelUnavailable as error:
            hub.refuse(str(error))
            return EngineUnavailable(str(error))
        return None

    def _agree(self, hub: HubPool) -> None:
        own = hub.labels
        if own is None:
            return
        if self._labels is None:
            try:
                self._labels = Labels(own, self._renamed)
            except ValueError as error:
                raise ModelUnavailable(f"SENTQ_WORKER_HUB_LABELS does not fit: {error}") from error
        names, expected = self._labels.names, self._expected()
        if expected is not None and set(names) != set(expected):
            raise ModelUnavailable(
                f"the Hub's model has the labels {sorted(names)}, the local one "
                f"{sorted(expected)}: set SENTQ_WORKER_HUB_LABELS to name the Hub's as the "
                'local ones, such as {"LABEL_0": "negative", …}, or take another model'
            )


def _parts(plan: Sequence[TextError | TextWindows]) -> Iterator[str]:
    """The windows of a job's texts, but for those texts that are not asked about."""
    for slices in plan:
        if isinstance(slices, TextWindows):
            yield from slices.parts


_MAY_NOT_LEAVE: Final = TextError(
    code=ErrorCode.ENGINE_UNAVAILABLE,
    message="this text may not leave, and its worker only asks the Hub",
)
