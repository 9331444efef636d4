"""Streaming: the order of outcomes, jobs in flight, and invalid texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from sentq.contract import ErrorCode, JobOutcome, Limits, Outcome, Prediction, TextError
from sentq.stream import JobWindow, stream
from sentq.wire.steps import Steps, run_steps


class Echo:
    """Returns for each text a prediction with the text as its label."""

    def __init__(self) -> None:
        self.jobs: dict[int, list[str]] = {}
        self.received = 0

    def send_steps(self, texts: Sequence[str]) -> Steps[str]:
        yield from ()
        self.jobs[len(self.jobs)] = list(texts)
        return str(len(self.jobs) - 1)

    def expect(self, job_id: str) -> None:
        assert int(job_id) in self.jobs

    def receive_steps(self) -> Steps[JobOutcome]:
        yield from ()
        outcomes: list[Outcome] = [_prediction(text) for text in self.jobs[self.received]]
        self.received += 1
        return JobOutcome(
            outcomes=outcomes,
            model="echo",
            revision=None,
            backend="test",
            dtype="none",
            attempts=1,
            queued_ms=None,
            inference_ms=0,
        )


def _prediction(label: str) -> Prediction:
    return Prediction(label=label, score=1, scores={}, sentiment=None, tokens=1, windows=1)


def _run(
    echo: Echo,
    texts: Iterator[object],
    *,
    texts_per_job: int = 4,
    jobs_in_flight: int = 3,
    limits: Limits | None = None,
) -> Iterator[Outcome]:
    window = JobWindow(
        limits=limits or Limits(),
        texts_per_job=texts_per_job,
        jobs_in_flight=jobs_in_flight,
        send=echo.send_steps,
        results=echo,
    )
    return stream(texts, window, partial(run_steps, perform=repr))


def test_outcomes_come_in_the_order_of_the_texts() -> None:
    outcomes = list(_run(Echo(), (f"text {i}" for i in range(103))))
    assert [o.label for o in outcomes if isinstance(o, Prediction)] == [
        f"text {i}" for i in range(103)
    ]


def test_an_endless_stream_is_read_only_as_far_as_jobs_are_in_flight() -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "x"

    outcomes = _run(Echo(), endless())
    next(outcomes)
    assert read <= 4 * 3 + 1


def test_no_more_jobs_are_in_flight_than_allowed() -> None:
    echo = Echo()
    for _ in _run(echo, (str(i) for i in range(100))):
        assert len(echo.jobs) - echo.received < 3


def test_invalid_texts_are_error_outcomes_in_order_and_never_sent() -> None:
    echo = Echo()
    texts: list[object] = ["a", 5, "b", "\ud800", "c", None, "x" * 100_001, "d"]
    outcomes = list(_run(echo, iter(texts)))
    seen = [o.label if isinstance(o, Prediction) else o.code for o in outcomes]
    assert seen == [
        "a",
        ErrorCode.NOT_A_STRING,
        "b",
        ErrorCode.LONE_SURROGATE,
        "c",
        ErrorCode.NOT_A_STRING,
        ErrorCode.TEXT_TOO_LONG,
        "d",
    ]
    assert [text for job in echo.jobs.values() for text in job] == ["a", "b", "c", "d"]


def test_a_stream_of_invalid_texts_sends_nothing() -> None:
    echo = Echo()
    outcomes = list(_run(echo, iter([None] * 10)))
    assert len(outcomes) == 10
    assert all(isinstance(outcome, TextError) for outcome in outcomes)
    assert not echo.jobs


def test_texts_are_split_into_jobs_that_fit_into_a_message() -> None:
    echo = Echo()
    limits = Limits(bytes_per_message=2048)
    outcomes = list(_run(echo, ("é" * 100 for _ in range(20)), texts_per_job=256, limits=limits))
    assert len(outcomes) == 20
    assert all(len(job) <= 3 for job in echo.jobs.values())


def test_an_empty_stream_yields_no_outcomes() -> None:
    assert list(_run(Echo(), iter(()))) == []
