"""Stream texts through the workers: cut them into jobs, keep these in flight, yield in order.

    texts ── JobWindow.add ──▶ a part ── send ──▶ jobs in flight ── receive ──▶ outcomes

Memory is bounded by the jobs in flight, for a stream of any length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from sentq.contract import JobOutcome, Limits, Outcome, TextError, check_sendable, message_bytes
from sentq.errors import JobFailed
from sentq.wire.steps import Steps

__all__ = ["JobWindow", "OutcomesInOrder", "StreamPart", "stream"]


class OutcomesInOrder(Protocol):
    """Receives the outcomes of jobs in the order in which they are expected."""

    def expect(self, job_id: str) -> None:
        """Expect a job after all that are expected already."""

    def receive_steps(self) -> Steps[JobOutcome]:
        """Wait for the outcome of the oldest expected job."""


@dataclass(slots=True)
class StreamPart:
    """A part of a stream: the texts of a job, and the errors of the other texts."""

    texts: list[str] = field(default_factory=list)
    #: One entry for each text of the part: None if the text belongs to the job.
    problems: list[TextError | None] = field(default_factory=list)


class JobWindow:
    """The jobs of a stream that are in flight.

    Args:
        limits: A text that breaks them is not sent; its outcome is an error.
        texts_per_job: The largest number of texts in a job.
        jobs_in_flight: How many jobs may be sent and not received.
        send: Makes the steps that send a job and return its id.
        results: Receives the outcomes of the jobs.
        isolate: Makes the steps that score texts again whose job has failed, each on its own; None
            to raise the error of the job.
        on_job: Called with each job before its outcomes are returned.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        texts_per_job: int,
        jobs_in_flight: int,
        send: Callable[[Sequence[str]], Steps[str]],
        results: OutcomesInOrder,
        isolate: Callable[[Sequence[str]], Steps[list[Outcome]]] | None = None,
        on_job: Callable[[JobOutcome], object] = lambda _: None,
    ) -> None:
        self._limits = limits
        self._texts_per_job = texts_per_job
        self._jobs_in_flight = jobs_in_flight
        self._send = send
        self._results = results
        self._isolate = isolate
        self._on_job = on_job
        self._in_flight: deque[StreamPart] = deque()
        self._next = StreamPart()
        self._next_bytes = 0

    def add(self, text: object) -> StreamPart | None:
        """Take the next text; return the part before it if that is complete."""
        problem = check_sendable(text, self._limits)
        fit = text if problem is None and isinstance(text, str) else None
        added_bytes = 0 if fit is None else message_bytes([fit])
        is_full = len(self._next.problems) >= self._texts_per_job
        complete = None
        if is_full or self._next_bytes + added_bytes > self._limits.bytes_per_message:
            complete = self.rest()
        self._next.problems.append(problem)
        if fit is not None:
            self._next.texts.append(fit)
            self._next_bytes += added_bytes
        return complete

    def rest(self) -> StreamPart | None:
        """Return the part that is not complete, if it has a text."""
        if not self._next.problems:
            return None
        rest, self._next, self._next_bytes = self._next, StreamPart(), 0
        return rest

    def send_steps(self, part: StreamPart) -> Steps[list[Outcome]]:
        """Send the job of a part. If no further one may be in flight then, wait for the oldest and
        return its outcomes."""
        if part.texts:
            self._results.expect((yield from self._send(part.texts)))
        self._in_flight.append(part)
        if len(self._in_flight) < self._jobs_in_flight:
            return []
        return (yield from self.receive_steps())

    def receive_steps(self) -> Steps[list[Outcome]]:
        """Wait for the oldest part, and return the outcomes of its texts."""
        part = self._in_flight.popleft()
        scored = iter((yield from self._outcomes_steps(part.texts)) if part.texts else ())
        return [next(scored) if problem is None else problem for problem in part.problems]

    def _outcomes_steps(self, texts: Sequence[str]) -> Steps[Sequence[Outcome]]:
        try:
            job = yield from self._results.receive_steps()
        except JobFailed:
            if self._isolate is None:
                raise
        else:
            self._on_job(job)
            return job.outcomes
        return (yield from self._isolate(texts))

    @property
    def is_empty(self) -> bool:
        """Whether no part is in flight."""
        return not self._in_flight


#: Runs steps to their end.
Run: TypeAlias = Callable[[Steps[list[Outcome]]], list[Outcome]]


def stream(texts: Iterable[object], window: JobWindow, run: Run) -> Iterator[Outcome]:
    """Yield one outcome for each text, in order.

    Args:
        texts: The texts. At most `texts_per_job * jobs_in_flight` are read ahead.
        window: A new window.
        run: Runs steps to their end.
    """
    for text in texts:
        if part := window.add(text):
            yield from run(window.send_steps(part))
    if part := window.rest():
        yield from run(window.send_steps(part))
    while not window.is_empty:
        yield from run(window.receive_steps())
