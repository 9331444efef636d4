"""Stream texts through the workers: cut them into jobs, keep these in flight, yield in order.

    texts ── slices ──▶ send ──▶ jobs in flight ──▶ receive ──▶ outcomes

Memory is bounded by the jobs in flight, for a stream of any length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sentq.contract import JobOutcome, Limits, Outcome, TextError, check_sendable, message_bytes

__all__ = ["stream"]


def stream(
    texts: Iterable[object],
    *,
    limits: Limits,
    texts_per_job: int,
    jobs_in_flight: int,
    send: Callable[[Sequence[str]], None],
    receive: Callable[[], JobOutcome],
) -> Iterator[Outcome]:
    """Yield one outcome for each text, in order.

    Args:
        texts: The texts. At most `texts_per_job * jobs_in_flight` are read ahead.
        limits: A text that breaks them is not sent; its outcome is an error.
        texts_per_job: The largest number of texts in a job.
        jobs_in_flight: How many jobs may be sent and not received.
        send: Sends a job.
        receive: Waits for the outcome of the oldest job that was sent and not received.
    """
    in_flight: deque[_Slice] = deque()
    for piece in _slices(texts, limits, texts_per_job):
        if piece.texts:
            send(piece.texts)
        in_flight.append(piece)
        if len(in_flight) >= jobs_in_flight:
            yield from _outcomes(in_flight.popleft(), receive)
    while in_flight:
        yield from _outcomes(in_flight.popleft(), receive)


@dataclass(slots=True)
class _Slice:
    """A part of the stream: the texts of a job, and the errors of the other texts."""

    texts: list[str] = field(default_factory=list)
    #: One entry for each text of the part: None if the text belongs to the job.
    problems: list[TextError | None] = field(default_factory=list)


def _slices(texts: Iterable[object], limits: Limits, texts_per_job: int) -> Iterator[_Slice]:
    piece, size_bytes = _Slice(), 0
    for text in texts:
        problem = check_sendable(text, limits)
        fit = text if problem is None and isinstance(text, str) else None
        added_bytes = 0 if fit is None else message_bytes([fit])
        full = len(piece.problems) >= texts_per_job
        if piece.problems and (full or size_bytes + added_bytes > limits.bytes_per_message):
            yield piece
            piece, size_bytes = _Slice(), 0
        piece.problems.append(problem)
        if fit is not None:
            piece.texts.append(fit)
            size_bytes += added_bytes
    if piece.problems:
        yield piece


def _outcomes(piece: _Slice, receive: Callable[[], JobOutcome]) -> Iterator[Outcome]:
    job_outcomes = iter(receive().outcomes if piece.texts else ())
    for problem in piece.problems:
        yield next(job_outcomes) if problem is None else problem
