"""The promises of the clients, each kept by both modes of the test kit and by a real worker.

This one suite holds the kit to what Redis and a worker do. `pytest -v` lists the names: a test is
run for `inline`, `manual` and `real`, each with `Client` (`sync`) and `AsyncClient` (`async`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import signals, signature

from sentq import (
    BatchClosed,
    BatchTimeout,
    BrokerUnavailable,
    CallbackState,
    DeadLetter,
    EmptyJob,
    ErrorCode,
    EtaTooFar,
    InvalidInput,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobOutcome,
    JobStatus,
    KeyConflict,
    LoneSurrogate,
    MessageTooLarge,
    NotAString,
    Prediction,
    QueueFull,
    RedisFull,
    ResultsUnavailable,
    RetryResult,
    Selection,
    TextError,
    TextTooLong,
    TooManyTexts,
    UnknownBatch,
    UnknownJob,
    WaitTimeout,
)
from tests.producer.testing.conftest import KEY, OTHER_KEY, MakeClient
from tests.support.services.services import PublishedCall, ServiceOfTests

#: How long a real worker may take, in seconds.
PATIENCE_S = 30


def _codes(outcome: JobOutcome) -> list[ErrorCode | None]:
    """Return the code of the error of each text, None for a prediction."""
    return _codes_of(outcome.outcomes)


# --- A job and its outcome --------------------------------------------------------------------


def test_a_job_ends_in_one_outcome_for_each_text(client: Any, service: ServiceOfTests) -> None:
    texts = ["What a lovely day!", "I want my money back.", "Größe 😀 \x00 \u2028"]
    job = client.submit(texts)
    service.let_work()
    outcome = job.result(timeout=PATIENCE_S)
    assert isinstance(outcome, JobOutcome)
    assert outcome.attempts == 1
    assert outcome.queued_ms is not None
    assert outcome.queued_ms >= 0
    assert len(outcome.outcomes) == 3
    for each in outcome.outcomes:
        assert isinstance(each, Prediction)
        assert each.scores[each.label] == each.score == max(each.scores.values())
        assert sum(each.scores.values()) == pytest.approx(1)
        assert each.sentiment is not None
        assert -1 <= each.sentiment <= 1
        assert each.tokens >= 1
        assert each.windows == 1
    assert job.status() is JobStatus.DONE
    assert job.result(timeout=0) == outcome


def test_one_text_is_a_job_of_one_text(client: Any, service: ServiceOfTests) -> None:
    job = client.submit("fine")
    service.let_work()
    assert len(job.result(timeout=PATIENCE_S).outcomes) == 1


def test_one_bad_text_fails_no_other(client: Any, service: ServiceOfTests) -> None:
    job = client.submit(["good", " \n", "bad"])
    service.let_work()
    outcome = job.result(timeout=PATIENCE_S)
    assert _codes(outcome) == [None, ErrorCode.EMPTY_TEXT, None]
    assert "nothing to score" in outcome.outcomes[1].message


def test_the_same_text_gets_the_same_scores(client: Any, service: ServiceOfTests) -> None:
    jobs = client.submit_many(["It broke."] * 3)
    service.let_work()
    first, *others = [each.outcomes for each in client.results(jobs, timeout=PATIENCE_S)]
    assert others == [first, first]


def test_another_client_reads_a_job_by_its_id(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    job_id = make_client().submit("fine").id
    service.let_work()
    job = make_client().job(job_id)
    assert job.id == job_id
    assert job.result(timeout=PATIENCE_S).outcomes


def test_a_job_of_the_bulk_queue_and_one_that_stays_local_are_scored(
    client: Any, service: ServiceOfTests
) -> None:
    jobs = [client.submit("good", bulk=True), client.submit("good", local_only=True)]
    service.let_work()
    for outcome in client.results(jobs, timeout=PATIENCE_S):
        assert _codes(outcome) == [None]


def test_a_job_with_detail_has_the_parts_of_its_texts(client: Any, service: ServiceOfTests) -> None:
    text = "  The room was lovely.\n\nI hate the breakfast! "
    jobs = [
        client.submit([text, "", "fine"], detail="sentences"),
        client.submit(text, detail="paragraphs"),
        client.submit(text),
    ]
    service.let_work()
    by_sentences, by_paragraphs, plain = client.results(jobs, timeout=PATIENCE_S)
    found, empty, fine = by_sentences.outcomes
    for each in (found, by_paragraphs.outcomes[0]):
        assert [text[part.start : part.end] for part in each.parts] == [
            "The room was lovely.",
            "I hate the breakfast!",
        ]
        assert isinstance(each.mixed, bool)
        for part in each.parts:
            assert part.score == part.scores[part.label] == max(part.scores.values())
            assert sum(part.scores.values()) == pytest.approx(1)
            assert -1 <= part.sentiment <= 1
    assert empty.code is ErrorCode.EMPTY_TEXT
    assert [(part.start, part.end, part.label) for part in fine.parts] == [(0, 4, fine.label)]
    assert fine.mixed is False
    assert plain.outcomes[0].parts is plain.outcomes[0].mixed is None


def test_a_detail_that_there_is_not_and_too_many_texts_for_one_are_refused(client: Any) -> None:
    with pytest.raises(InvalidInput, match="'sentences', 'paragraphs', 'windows'"):
        client.submit("fine", detail="words")
    with pytest.raises(TooManyTexts, match="64 a job with detail"):
        client.submit(["fine"] * 65, detail="sentences")
    with pytest.raises(InvalidInput, match="detail"):
        client.batch(iter(["fine"]), detail="words")


def test_a_text_without_words_has_an_error(client: Any, service: ServiceOfTests) -> None:
    job = client.submit(["12345", "!?", ":-)", "9/10", "\U0001f44d", " "], detail="sentences")
    service.let_work()
    no_words, empty = ErrorCode.NO_WORDS, ErrorCode.EMPTY_TEXT
    codes = [no_words, no_words, None, None, None, empty]
    assert _codes(job.result(timeout=PATIENCE_S)) == codes


def test_an_unknown_id_is_an_unknown_job(client: Any) -> None:
    job = client.job("01a00000-0000-7000-8000-00000000000f")
    assert job.status() is JobStatus.UNKNOWN
    with pytest.raises((UnknownJob, JobExpired)):
        job.result(timeout=0)
    with pytest.raises((UnknownJob, JobExpired)):
        job.cancel()
    with pytest.raises(UnknownJob):
        client.job("not-a-uuid").result(timeout=0)


def test_the_id_of_a_job_is_a_string(client: Any) -> None:
    with pytest.raises(InvalidInput):
        client.job(7)


def test_a_job_that_is_not_scored_expires(make_client: MakeClient, service: ServiceOfTests) -> None:
    with service.waiting() as settings:
        job = make_client(result_ttl_s=1, **settings).submit("x")
        service.pass_time(1.5)
        assert job.status() is JobStatus.UNKNOWN
        with pytest.raises(JobExpired):
            job.result(timeout=0)


# --- Waiting ----------------------------------------------------------------------------------


def test_a_wait_ends_at_its_time_out_and_says_what_the_job_waits_for(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    with service.waiting() as settings:
        client = make_client(**settings)
        _, job = client.submit_many(["x", "y"])
        with pytest.raises(WaitTimeout) as caught:
            job.result(timeout=0.1)
        assert job.status() is JobStatus.QUEUED
    assert caught.value.job_id == job.id
    assert caught.value.status == JobStatus.QUEUED
    assert caught.value.jobs_ahead == 1
    assert caught.value.workers in (0, 1)
    assert "it is queued, with at most 1 jobs before it" in str(caught.value)


def test_a_time_out_does_not_affect_the_job(client: Any, service: ServiceOfTests) -> None:
    with service.paused():
        job = client.submit("fine")
        with pytest.raises(WaitTimeout):
            job.result(timeout=0.05)
    assert job.result(timeout=PATIENCE_S).outcomes


@pytest.mark.parametrize("timeout", ["1", True, float("nan")])
def test_a_time_out_is_a_number(client: Any, timeout: object) -> None:
    with pytest.raises(InvalidInput, match="timeout"):
        client.job("x").result(timeout=timeout)


# --- Many jobs --------------------------------------------------------------------------------


def test_many_jobs_are_returned_and_read_in_their_order(
    client: Any, service: ServiceOfTests
) -> None:
    jobs = client.submit_many([["a"] * count for count in (3, 1, 2)] + ["a single text"])
    service.let_work()
    outcomes = list(client.results(jobs, timeout=PATIENCE_S))
    assert [len(each.outcomes) for each in outcomes] == [3, 1, 2, 1]
    assert list(client.results([job.id for job in jobs], timeout=PATIENCE_S)) == outcomes


def test_hundreds_of_jobs_are_all_scored(client: Any, service: ServiceOfTests) -> None:
    jobs = client.submit_many(f"text {number}" for number in range(1200))
    assert len({job.id for job in jobs}) == 1200
    service.let_work()
    assert sum(len(each.outcomes) for each in client.results(jobs, timeout=60)) == 1200


def test_the_error_of_a_job_takes_the_place_of_its_outcome(
    client: Any, service: ServiceOfTests
) -> None:
    with service.paused():
        first, second, third = client.submit_many(["a", "b", "c"])
        assert second.cancel()
    ended = list(client.results([first, second, "unknown", third], timeout=PATIENCE_S))
    assert [type(each) for each in ended] == [JobOutcome, JobCancelled, UnknownJob, JobOutcome]


def test_no_jobs_are_no_error(client: Any) -> None:
    assert client.submit_many([]) == []
    assert list(client.results([])) == []
    assert list(client.map([])) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.submit_many("text"),
        lambda client: client.submit_many(7),
        lambda client: list(client.results("id")),
        lambda client: list(client.results([7])),
        lambda client: list(client.map("text")),
        lambda client: list(client.map(["text"], texts_per_job=0)),
        lambda client: list(client.map(["text"], jobs_in_flight=1.5)),
        lambda client: list(client.map(["text"], key="")),
    ],
)
def test_one_value_in_place_of_several_is_refused(
    client: Any, call: Callable[[Any], object]
) -> None:
    with pytest.raises(InvalidInput):
        call(client)


# --- Streams ----------------------------------------------------------------------------------


def test_a_stream_has_one_outcome_for_each_text_in_order(
    client: Any, service: ServiceOfTests
) -> None:
    texts = ["good", "bad", "", "x" * 100_001, 7, "\ud800", *(f"text {n}" for n in range(30))]
    with service.working():
        outcomes = list(client.map(iter(texts), texts_per_job=4, timeout=PATIENCE_S))
    assert len(outcomes) == len(texts)
    assert _codes_of(outcomes[:7]) == [
        *(None, None, ErrorCode.EMPTY_TEXT, ErrorCode.TEXT_TOO_LONG),
        *(ErrorCode.NOT_A_STRING, ErrorCode.LONE_SURROGATE, None),
    ]


def test_a_stream_reads_no_more_texts_ahead_than_its_jobs_in_flight_have(
    client: Any, service: ServiceOfTests
) -> None:
    read: list[str] = []

    def recorded() -> Iterator[str]:
        for text in map(str, range(100)):
            read.append(text)
            yield text

    with service.working():
        outcomes = client.map(
            recorded(),
            texts_per_job=2,
            jobs_in_flight=3,
            timeout=PATIENCE_S,
        )
        next(outcomes)
        # The next text tells that a job is full.
        assert len(read) <= 2 * 3 + 1
        assert len(list(outcomes)) == 99


def test_a_stream_waits_for_capacity(make_client: MakeClient, service: ServiceOfTests) -> None:
    with service.working():
        client = make_client(max_queued_jobs=2)
        texts = (f"text {number}" for number in range(40))
        outcomes = client.map(texts, texts_per_job=1, jobs_in_flight=20, timeout=PATIENCE_S)
        assert _codes_of(outcomes) == [None] * 40


def test_a_repeated_stream_sends_only_the_jobs_that_are_missing(
    client: Any, service: ServiceOfTests
) -> None:
    with service.working():
        options = {"key": "nightly", "texts_per_job": 2, "timeout": PATIENCE_S}
        first = list(client.map(["a", "b", "c"], **options))
        assert list(client.map(["a", "b", "c"], **options)) == first
        with pytest.raises(KeyConflict):
            list(client.map(["other", "texts"], **options))


# --- Idempotency keys -------------------------------------------------------------------------


def test_one_key_is_one_job(client: Any, service: ServiceOfTests) -> None:
    key = _unique("order")
    first = client.submit("fine", key=key)
    assert client.submit("fine", key=key, bulk=True, deadline=60).id == first.id
    service.let_work()
    outcome = first.result(timeout=PATIENCE_S)
    again = client.submit("fine", key=key)
    assert again.id == first.id
    assert again.result(timeout=PATIENCE_S) == outcome


def test_other_texts_under_a_key_are_refused_and_not_sent(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    key = _unique("order")
    with service.waiting() as settings:
        client = make_client(**settings)
        client.submit("fine", key=key)
        with pytest.raises(KeyConflict, match="belongs to a job with other texts"):
            client.submit("another text", key=key)
        with pytest.raises(KeyConflict):
            client.submit("fine", key=key, local_only=True)
        with pytest.raises(KeyConflict):
            client.submit("fine", key=key, detail="sentences")
        assert client.backlog().total_jobs == 1


def test_the_keys_of_several_jobs(make_client: MakeClient, service: ServiceOfTests) -> None:
    one, two = _unique("one"), _unique("two")
    with service.waiting() as settings:
        client = make_client(**settings)
        first, second, repeated = client.submit_many(["a", "b", "a"], keys=[one, two, one])
        assert repeated.id == first.id != second.id
        with pytest.raises(KeyConflict, match="of job 1"):
            client.submit_many(["c", "other"], keys=[_unique("three"), two])
        assert client.backlog().total_jobs == 2
        with pytest.raises(InvalidInput, match="one for each"):
            client.submit_many(["a", "b"], keys=["only one"])
        with pytest.raises(InvalidInput, match="not empty"):
            client.submit("a", key="")


def test_a_namespace_keeps_keys_apart(make_client: MakeClient) -> None:
    key = _unique("order")
    jobs = [make_client(key_namespace=name).submit("x", key=key) for name in ("a", "b", "a")]
    assert jobs[0].id == jobs[2].id != jobs[1].id


def test_a_key_is_free_again_when_its_outcome_has_expired(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    key = _unique("order")
    client = make_client(result_ttl_s=1)
    first = client.submit("x", key=key)
    service.pass_time(1.5)
    assert client.submit("another text", key=key).id != first.id


# --- Deadlines --------------------------------------------------------------------------------


def test_texts_that_are_not_scored_by_the_deadline_end_in_an_error(
    client: Any, service: ServiceOfTests
) -> None:
    with service.paused():
        late, timely = client.submit(["a", "b"], deadline=0.5), client.submit("c", deadline=600)
        service.pass_time(0.7)
    outcome = late.result(timeout=PATIENCE_S)
    assert _codes(outcome) == [ErrorCode.DEADLINE_PASSED] * 2
    assert "deadline passed" in outcome.outcomes[0].message
    assert _codes(timely.result(timeout=PATIENCE_S)) == [None]


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), "5", True, 400 * 86400])
def test_a_deadline_is_a_positive_number_of_less_than_a_year(client: Any, deadline: object) -> None:
    with pytest.raises(InvalidInput, match="deadline"):
        client.submit("x", deadline=deadline)


# --- Jobs for later ---------------------------------------------------------------------------


def test_a_job_for_later_is_scored_when_it_is_due(client: Any, service: ServiceOfTests) -> None:
    with service.working():
        job, cancelled = (client.submit("good", delay=2) for _ in range(2))
        assert job.status() is JobStatus.SCHEDULED
        assert cancelled.cancel() is True
        due_at = job.due_at()
        assert due_at is not None
        assert due_at.utcoffset() is not None
        service.pass_time(2.1)
        outcome = job.result(timeout=PATIENCE_S)
    assert _codes(outcome) == [None]
    assert outcome.queued_ms is not None
    assert 0 <= outcome.queued_ms < 1500
    assert job.status() is JobStatus.DONE
    assert job.due_at() is None
    assert cancelled.status() is JobStatus.CANCELLED


def test_a_job_for_later_says_so_when_a_wait_ends(client: Any, service: ServiceOfTests) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    job = client.submit("x", at=at)
    service.let_work()
    with pytest.raises(WaitTimeout, match="it is scheduled for") as caught:
        job.result(timeout=0.1)
    assert caught.value.status == JobStatus.SCHEDULED
    assert abs(job.due_at() - at) < timedelta(seconds=1)
    assert client.service_status().scheduled_jobs >= 1
    assert job.cancel() is True


def test_times_that_are_refused(client: Any) -> None:
    for wrong in (-1, "1", True, float("nan")):
        with pytest.raises(InvalidInput):
            client.submit("x", delay=wrong)
    with pytest.raises(InvalidInput, match="time zone"):
        client.submit("x", at=datetime.now())  # noqa: DTZ005
    with pytest.raises(InvalidInput, match="deadline"):
        client.submit("x", delay=10, deadline=5)
    with pytest.raises(EtaTooFar):
        client.submit("x", delay=10 * 366 * 86400)


# --- Cancellation -----------------------------------------------------------------------------


def test_a_job_that_waits_is_cancelled(client: Any, service: ServiceOfTests) -> None:
    with service.paused():
        job, other = client.submit_many(["a", "b"])
        assert job.cancel() is True
        assert job.cancel() is True
        assert job.status() is JobStatus.CANCELLED
        with pytest.raises(JobCancelled):
            job.result(timeout=0)
    assert other.result(timeout=PATIENCE_S).outcomes
    assert job.status() is JobStatus.CANCELLED


def test_a_job_that_has_ended_is_not_cancelled(client: Any, service: ServiceOfTests) -> None:
    job = client.submit("a")
    service.let_work()
    outcome = job.result(timeout=PATIENCE_S)
    assert job.cancel() is False
    assert job.result(timeout=0) == outcome


# --- Limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        ([], EmptyJob),
        (["x"] * 257, TooManyTexts),
        ("x" * 100_001, TextTooLong),
        (["ok", 7], NotAString),
        (b"bytes", NotAString),
        ({"a": "b"}, NotAString),
        ("\ud800", LoneSurrogate),
        (["\U0001f600" * 50_000] * 4, MessageTooLarge),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_job_that_breaks_a_limit_is_not_sent(
    make_client: MakeClient, service: ServiceOfTests, texts: object, error: type[Exception]
) -> None:
    with service.waiting() as settings:
        client = make_client(**settings)
        with pytest.raises(error):
            client.submit(texts)
        with pytest.raises(error):
            client.submit_many(["fine", texts])
        assert client.backlog().total_jobs == 0


def test_settings_may_lower_limits(make_client: MakeClient) -> None:
    client = make_client(texts_per_job=2, chars_per_text=5, bytes_per_message=1024)
    with pytest.raises(TooManyTexts, match="the limit is 2"):
        client.submit(["a"] * 3)
    with pytest.raises(TextTooLong, match="the limit is 5"):
        client.submit("123456")


# --- Capacity ---------------------------------------------------------------------------------


def test_a_full_queue_rejects_jobs_and_keeps_those_before(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    with service.waiting() as settings:
        client = make_client(max_queued_jobs=2, **settings)
        first = client.submit("a")
        with pytest.raises(QueueFull, match="max_queued_jobs is 2") as caught:
            client.submit_many(["b", "c", "d"])
        assert caught.value.retry_after_s > 0
        assert len(caught.value.accepted) == 0
        assert client.submit("b", bulk=True).status() is JobStatus.QUEUED
        client.submit("b")
        with pytest.raises(QueueFull):
            client.submit("c")
        assert client.backlog().total_jobs == 3
        assert first.status() is JobStatus.QUEUED


def test_jobs_of_a_call_before_the_one_that_is_rejected_are_named(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    with service.waiting() as settings:
        client = make_client(max_queued_jobs=3, **settings)
        with pytest.raises(QueueFull) as caught:
            client.submit_many(map(str, range(5)))
        assert [client.job(job_id).status() for job_id in caught.value.accepted] == [
            JobStatus.QUEUED
        ] * 3


def test_a_queue_with_too_many_bytes_is_full(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    with service.waiting() as settings:
        client = make_client(max_queued_bytes=2 * 1024 * 1024, **settings)
        jobs = (["x" * 90_000] * 5 for _ in range(5))
        with pytest.raises(QueueFull, match="max_queued_bytes") as caught:
            client.submit_many(jobs)
        assert 1 <= len(caught.value.accepted) == client.backlog().total_jobs <= 4


def test_a_redis_without_memory_rejects_jobs(client: Any, service: ServiceOfTests) -> None:
    with service.full(), pytest.raises(RedisFull):
        client.submit("x")
    job = client.submit("x")
    service.let_work()
    assert job.result(timeout=PATIENCE_S).outcomes


# --- Redis is away ----------------------------------------------------------------------------


def test_a_redis_that_is_away_is_a_typed_error(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    with service.unreachable() as settings:
        client = make_client(**settings)
        with pytest.raises(BrokerUnavailable) as caught:
            client.submit("x")
        assert len(caught.value.accepted) == 0
        with pytest.raises(BrokerUnavailable):
            list(client.map(["x"]))
        with pytest.raises(BrokerUnavailable):
            client.backlog()
        with pytest.raises(BrokerUnavailable):
            client.service_status()
        job = client.job("x")
        for call in (job.status, job.cancel, job.result, lambda: list(client.results([job]))):
            with pytest.raises(ResultsUnavailable):
                call()


def test_a_closed_client_may_be_used_again(client: Any, service: ServiceOfTests) -> None:
    client.close()
    job = client.submit("x")
    service.let_work()
    assert job.result(timeout=PATIENCE_S).outcomes


# --- Batches ----------------------------------------------------------------------------------


def test_a_batch_is_complete_when_all_of_its_jobs_have_ended(
    client: Any, service: ServiceOfTests
) -> None:
    with service.paused():
        batch = client.batch(["good", ["bad", ""], "x"])
        progress = batch.progress()
        assert (progress.total, progress.ended, progress.remaining) == (3, 0, 3)
        assert progress.is_closed
        assert not progress.is_complete
        assert progress.callback is None
        with pytest.raises(BatchTimeout):
            batch.wait(timeout=0.05)
    progress = batch.wait(timeout=PATIENCE_S)
    assert (progress.total, progress.done, progress.failed, progress.cancelled) == (3, 3, 0, 0)
    assert progress.is_complete
    assert [len(each.outcomes) for each in batch.results(timeout=PATIENCE_S)] == [1, 2, 1]
    jobs = [job.id for job in batch.jobs()]
    assert len(set(jobs)) == 3
    ended = {job.id: outcome for job, outcome in batch.as_completed(timeout=PATIENCE_S)}
    assert sorted(ended) == sorted(jobs)
    assert _codes(ended[jobs[1]]) == [None, ErrorCode.EMPTY_TEXT]


def test_an_open_batch_takes_jobs_until_it_is_closed(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    batch = make_client().open_batch()
    assert batch.add(["a", "b"]) == 2
    other = make_client().batch_by_id(batch.id)
    assert other.add(str(number) for number in range(600)) == 600
    assert batch.progress().total == 602
    assert not batch.progress().is_closed
    batch.close()
    with pytest.raises(BatchClosed):
        other.add(["c"])
    service.let_work()
    assert batch.wait(timeout=60).done == 602


def test_a_batch_without_jobs_is_complete(client: Any) -> None:
    assert client.batch([]).wait(timeout=PATIENCE_S).is_complete


def test_the_jobs_of_a_cancelled_batch_are_not_scored(client: Any, service: ServiceOfTests) -> None:
    with service.paused():
        batch = client.batch(["a", "b", "c"])
        first = next(iter(batch.jobs()))
        assert first.cancel()
        assert batch.progress().cancelled == 1
        assert batch.cancel() == 2
        assert batch.cancel() == 0
        assert first.status() is JobStatus.CANCELLED
    progress = batch.wait(timeout=PATIENCE_S)
    assert (progress.cancelled, progress.done) == (3, 0)
    assert [type(each) for each in batch.results(timeout=PATIENCE_S)] == [JobCancelled] * 3


def test_the_callback_of_a_batch_is_published_once(client: Any, service: ServiceOfTests) -> None:
    with service.paused():
        then = signature("shop.store", args=(7,), kwargs={"what": "reviews"})
        batch = client.batch(["a", "b"], then=then.set(queue="shop"))
        assert batch.progress().callback is CallbackState.WAITING
        assert service.published(batch.id) == []
    batch.wait(timeout=PATIENCE_S)
    end_s = time.monotonic() + PATIENCE_S
    while batch.progress().callback is CallbackState.WAITING and time.monotonic() < end_s:
        time.sleep(0.05)
    assert batch.progress().callback is CallbackState.SENT
    expected = ("shop.store", [batch.id, 7], {"what": "reviews"})
    assert service.published(batch.id) == [expected]


def test_the_callback_of_a_job_is_published_once_it_has_ended(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    client, undecryptable = make_client(), make_client(encryption_keys=OTHER_KEY)
    then = signature("shop.store", args=(7,), kwargs={"what": "a review"}).set(queue="shop")
    with service.paused():
        by_id, cancelled = (client.submit("x", then=then) for _ in range(2))
        by_outcome = client.submit(["x", ""], then=then, then_argument="outcome")
        failed = undecryptable.submit("x", then=then, then_argument="outcome")
        assert cancelled.cancel()
        assert service.published(by_id.id) == []
    outcome = by_outcome.result(timeout=PATIENCE_S)
    for job in (by_id, failed):
        list(client.results([job], timeout=PATIENCE_S))
    keywords = {"what": "a review"}
    assert _published(service, by_id.id) == ("shop.store", [by_id.id, 7], keywords)
    _, (told, _), _ = _published(service, by_outcome.id)
    assert told["error"] is None
    assert JobOutcome.model_validate(told["outcome"]) == outcome
    _, (told, _), _ = _published(service, failed.id)
    assert told["outcome"] is None
    assert told["error"]["code"] == "Undecryptable"
    assert service.published(cancelled.id) == []
    with pytest.raises(InvalidInput):
        client.submit("x", then="not a signature")


def _published(service: ServiceOfTests, job_id: str) -> PublishedCall:
    """Return the one callback of a job. That of a dead letter is published after its outcome."""
    end_s = time.monotonic() + PATIENCE_S
    while not (found := service.published(job_id)) and time.monotonic() < end_s:
        time.sleep(0.05)
    (one,) = found
    return one


def test_a_batch_that_is_not_known(client: Any) -> None:
    batch = client.batch_by_id("01a00000-0000-7000-8000-00000000000f")
    for call in (batch.progress, batch.close, batch.cancel, batch.wait, lambda: batch.add(["a"])):
        with pytest.raises(UnknownBatch):
            call()
    with pytest.raises(InvalidInput):
        client.batch_by_id("nonsense")
    with pytest.raises(InvalidInput):
        client.batch(["a"], then="not a signature")


def test_jobs_are_read_as_they_end(client: Any, service: ServiceOfTests) -> None:
    with service.paused():
        jobs = client.submit_many(["a", "b", "c"])
        jobs[1].cancel()
        with pytest.raises(WaitTimeout):
            list(client.as_completed(jobs, timeout=0.05))
    unknown = client.job("01a00000-0000-7000-8000-00000000000f")
    ended = {
        job.id: type(outcome)
        for job, outcome in client.as_completed([*jobs, unknown], timeout=PATIENCE_S)
    }
    assert ended[jobs[0].id] is ended[jobs[2].id] is JobOutcome
    assert ended[jobs[1].id] is JobCancelled
    assert ended[unknown.id] in (UnknownJob, JobExpired)


# --- Encryption and dead letters --------------------------------------------------------------


def test_encrypted_texts_are_scored(make_client: MakeClient, service: ServiceOfTests) -> None:
    job = make_client(encryption_keys=KEY).submit(["good", ""])
    service.let_work()
    assert _codes(job.result(timeout=PATIENCE_S)) == [None, ErrorCode.EMPTY_TEXT]


def test_a_job_that_cannot_be_decrypted_fails_and_is_a_dead_letter(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    client = make_client(encryption_keys=OTHER_KEY)
    job = client.submit("a text")
    service.let_work()
    with pytest.raises(JobFailed) as caught:
        job.result(timeout=PATIENCE_S)
    assert caught.value.code == "Undecryptable"
    assert job.status() is JobStatus.FAILED
    letter = _dead_letter_of(client, job.id)
    assert letter.code == "undecryptable"
    assert letter.deliveries == 1
    assert letter.queue == "sentq"
    assert client.dead.count(Selection(codes=("undecryptable",)))["undecryptable"] >= 1
    assert client.dead.count(Selection(codes=("worker_lost",))) == {}
    assert client.dead.get(letter.id) == letter
    assert client.dead.get("nonsense") is None
    assert client.dead.texts(letter) == ["a text"]
    assert client.service_status().dead_letters >= 1


def test_a_dead_letter_is_retried_or_dropped(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    client = make_client(encryption_keys=OTHER_KEY)
    job = client.submit("a text")
    service.let_work()
    with pytest.raises(JobFailed):
        job.result(timeout=PATIENCE_S)
    letter = _dead_letter_of(client, job.id)
    with service.paused():
        assert client.dead.retry(letter) is RetryResult.RETRIED
        assert job.status() is JobStatus.QUEUED
        assert client.dead.get(letter.id) is None
        assert client.dead.retry(letter) is RetryResult.NOT_FOUND
    with pytest.raises(JobFailed):
        job.result(timeout=PATIENCE_S)
    letter = _dead_letter_of(client, job.id)
    assert client.dead.drop([letter.id]) == 1
    assert client.dead.drop([letter.id]) == 0
    assert job.status() is JobStatus.FAILED


# --- The service ------------------------------------------------------------------------------


def test_the_status_of_the_service_counts_what_waits(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    with service.waiting() as settings:
        client = make_client(**settings)
        client.submit_many(["a", "b"])
        client.submit("c", bulk=True)
        service.pass_time(0.2)
        status = client.service_status()
        single, bulk = status.queues
        assert (single.waiting_jobs, bulk.waiting_jobs) == (2, 1)
        assert single.oldest_s is not None
        assert 0.2 <= single.oldest_s < 60
        assert single.name == settings.get("queue", "sentq")
        assert status.in_flight_jobs == status.scheduled_jobs == 0
        backlog = client.backlog()
        assert list(backlog.waiting_jobs.values()) == [2, 1]
        assert backlog.total_jobs == 3


def test_the_worker_of_the_service_reports(client: Any, service: ServiceOfTests) -> None:
    job = client.submit("a")
    service.let_work()
    job.result(timeout=PATIENCE_S)
    (report,) = client.service_status().workers
    assert report.queues == ("sentq", "sentq.bulk")
    assert report.model
    assert report.version
    (same,) = client.backlog().workers
    assert same.worker == report.worker


# --- What an application observes -------------------------------------------------------------


def test_jobs_are_sent_and_scored_if_the_application_observes_celerys_signals(
    make_client: MakeClient, service: ServiceOfTests
) -> None:
    seen: list[str] = []

    def observe(sender: str, headers: dict[str, Any], **_: object) -> None:
        seen.append(headers["id"])

    signals.before_task_publish.connect(observe)
    key = _unique("observed")
    try:
        client = make_client(max_queued_jobs=100)
        job = client.submit(["good", ""], key=key, deadline=600)
        assert client.submit(["good", ""], key=key).id == job.id
        with pytest.raises(KeyConflict):
            client.submit("another text", key=key)
    finally:
        signals.before_task_publish.disconnect(observe)
    service.let_work()
    assert _codes(job.result(timeout=PATIENCE_S)) == [None, ErrorCode.EMPTY_TEXT]
    assert seen == [job.id]


def _unique(name: str) -> str:
    """Return an idempotency key that no other test uses: a real Redis keeps them."""
    return f"{name} {time.monotonic_ns()}"


def _codes_of(outcomes: Any) -> list[ErrorCode | None]:
    return [each.code if isinstance(each, TextError) else None for each in outcomes]


def _dead_letter_of(client: Any, job_id: str) -> DeadLetter:
    """Return the dead letter of a job. The outcome of a job may be read before it is written."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        for letter in client.dead.entries():
            if letter.job_id == job_id:
                found: DeadLetter = letter
                return found
    raise AssertionError(f"no dead letter of {job_id}")
