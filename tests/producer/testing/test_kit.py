"""What only the test kit has: scores and failures on demand, its clock, and what was sent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from redis.exceptions import ResponseError

from sentq import (
    AsyncClient,
    BrokerUnavailable,
    Client,
    ErrorCode,
    InvalidInput,
    JobExpired,
    JobFailed,
    JobOutcome,
    JobStatus,
    KeyConflict,
    Overloaded,
    Prediction,
    QueueFull,
    RedisFull,
    ResultsUnavailable,
    RetryResult,
    Settings,
    SettingsError,
    TextError,
    WaitTimeout,
)
from sentq.testing import EndlessWait, Kit, Score, inline, manual, score_by_rule
from sentq.testing.memory.commands import execute_command
from sentq.testing.memory.database import MemoryDatabase
from tests.support.processes import RedisProcess


@pytest.fixture
def kit() -> Iterator[Kit]:
    """A kit that scores by itself."""
    with inline() as kit:
        yield kit


@pytest.fixture
def waiting_kit() -> Iterator[Kit]:
    """A kit whose jobs wait."""
    with manual() as kit:
        yield kit


@pytest.fixture
def another_thread() -> Iterator[None]:
    """Let the process have a second thread, so that waits take real time."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield
    done.set()
    thread.join()


# --- Begin and end ----------------------------------------------------------------------------


def test_clients_use_redis_again_when_the_kit_has_ended(redis_server: RedisProcess) -> None:
    with Client(broker_url=redis_server.url) as client:
        before = client.submit("x")
        with inline():
            inside = client.submit("Great!")
            assert inside.result(timeout=5).backend == "testing"
            assert before.status() is JobStatus.UNKNOWN
        assert before.status() is JobStatus.QUEUED
        assert inside.status() is JobStatus.UNKNOWN
        assert client.backlog().total_jobs == 1


def test_only_one_kit_is_active(kit: Kit) -> None:
    with pytest.raises(RuntimeError, match="active already"):
        manual().start()
    kit.stop()
    with manual():
        pass


def test_a_kit_may_be_started_and_stopped() -> None:
    kit = inline()
    kit.start()
    kit.clock.advance(3600)
    assert Client().submit("x").result().outcomes
    kit.stop()
    assert abs(kit.clock.now_s - time.time()) < 60


def test_importing_sentq_does_not_import_the_kit() -> None:
    program = "import sys, sentq; print([each for each in sys.modules if 'sentq.testing' in each])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.strip() == b"[]"


@pytest.mark.parametrize(
    "settings",
    [
        {"broker_url": "amqp://broker.invalid", "result_url": "redis://results.invalid/1"},
        {"broker_url": "redis://one.invalid/0", "result_url": "redis://two.invalid/0"},
        {
            "broker_url": "sentinel://one.invalid:26379",
            "transport_options": {"master_name": "main"},
        },
        {"broker_url": "rediss://tls.invalid/0"},
        {
            "broker_url": "redis://one.invalid/0",
            "transport_options": {"global_keyprefix": "shop:"},
            "max_queued_jobs": 50,
        },
        {"broker_url": "redis://one.invalid/0", "queue": "reviews", "bulk_queue": "reviews.bulk"},
    ],
    ids=["rabbitmq", "two redis", "sentinel", "tls", "key prefix", "queues"],
)
@pytest.mark.parametrize("is_sync", [True, False], ids=["sync", "async"])
def test_clients_of_any_settings_are_served(
    kit: Kit, settings: dict[str, Any], *, is_sync: bool
) -> None:
    loaded = Settings.load(**settings)
    if is_sync:
        client = Client(loaded)
        job = client.submit(["Great!", ""], key="a key")
        assert client.submit(["Great!", ""], key="a key").id == job.id
        assert len(job.result(timeout=5).outcomes) == 2
        assert client.batch(["a", "b"]).wait(timeout=5).done == 2
        assert len(list(client.as_completed([job], timeout=5))) == 1
        assert client.backlog().total_jobs == client.service_status().dead_letters == 0
        client.load_functions()
        client.close()
        return

    async def main() -> None:
        async with AsyncClient(loaded) as client:
            job = await client.submit(["Great!", ""], key="a key")
            assert len((await job.result(timeout=5)).outcomes) == 2
            assert (await (await client.batch(["a", "b"])).wait(timeout=5)).done == 2
            assert (await client.backlog()).total_jobs == 0
            assert (await client.service_status()).dead_letters == 0

    asyncio.run(main())


def test_settings_that_production_refuses_are_refused(kit: Kit) -> None:
    client = Client(broker_url="redis://one.invalid/0", result_url="redis://two.invalid/0")
    with pytest.raises(SettingsError, match="one database of one Redis"):
        client.batch(["x"], then={"task": "store"})


def test_settings_of_the_kit_are_those_of_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTQ_TEXTS_PER_JOB", "7")
    with manual(max_queued_jobs=1) as kit:
        assert kit.settings.texts_per_job == 7
        client = kit.client()
        client.submit("x")
        with pytest.raises(QueueFull):
            client.submit("x")
        kit.client(max_queued_jobs=2).submit("x")
    with pytest.raises(SettingsError):
        inline(max_queued_job=1)


# --- Scores -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "label", "score"),
    [
        ("What a lovely day!", "positive", 0.8),
        ("I want my MONEY back.", "negative", 0.8),
        ("Good, great, perfect.", "positive", 0.95),
        ("Good, but it broke.", "neutral", 0.8),
        ("It is broken and useless.", "negative", 0.95),
        ("The goodness of badgers", "neutral", 0.8),
        ("!", "neutral", 0.8),
    ],
)
def test_the_rule(text: str, label: str, score: float) -> None:
    prediction = score_by_rule(text)
    assert (prediction.label, prediction.score) == (label, score)
    assert sum(prediction.scores.values()) == pytest.approx(1)
    assert prediction.tokens >= 1


def test_a_long_text_is_read_in_windows() -> None:
    assert score_by_rule("word " * 1000).windows == 2


def test_scores_of_a_mapping(kit: Kit) -> None:
    prediction = Prediction(
        label="joy", score=1.0, scores={"joy": 1.0}, sentiment=None, tokens=1, windows=1
    )
    error = TextError(code=ErrorCode.NONFINITE, message="infinite")
    scores: dict[str, Score] = {
        "label": "negative",
        "high": 0.75,
        "low": -0.25,
        "whole": prediction,
        "error": error,
        "code": ErrorCode.UNREADABLE,
    }
    kit.scores = scores
    outcomes = Client().submit([*scores, "Great!"]).result().outcomes
    label, high, low, *others, by_rule = outcomes
    assert isinstance(label, Prediction)
    assert label.label == "negative"
    assert isinstance(high, Prediction)
    assert (high.label, high.score, high.sentiment) == ("positive", 0.75, 0.75)
    assert isinstance(low, Prediction)
    assert (low.label, low.score, low.sentiment) == ("neutral", 0.75, -0.25)
    assert others[:2] == [prediction, error]
    assert isinstance(others[2], TextError)
    assert others[2].code is ErrorCode.UNREADABLE
    assert isinstance(by_rule, Prediction)
    assert by_rule.label == "positive"


@pytest.mark.parametrize("score", ["joy", 2, True, None, object()])
def test_what_is_no_score_is_an_error_of_the_test(kit: Kit, score: Any) -> None:
    kit.scores = lambda _: score
    with pytest.raises((TypeError, ValueError)):
        Client().submit("x")


def test_what_a_function_raises_is_raised_where_its_text_is_scored(waiting_kit: Kit) -> None:
    def fail(text: str) -> str:
        raise LookupError(text)

    waiting_kit.scores = fail
    client = Client()
    job, other = client.submit_many(["x", "y"])
    with pytest.raises(LookupError, match="x"):
        waiting_kit.drain()
    with pytest.raises(JobFailed, match="LookupError"):
        job.result()
    waiting_kit.scores = None
    assert waiting_kit.drain() == 1
    assert other.result().outcomes


def test_a_function_may_send_jobs(kit: Kit) -> None:
    client = Client()

    def score(text: str) -> str:
        if text == "first":
            client.submit("second")
        return "neutral"

    kit.scores = score
    assert client.submit("first").result().outcomes
    kit.assert_submitted("second", jobs=1)
    assert client.backlog().total_jobs == 0


# --- Jobs that wait ---------------------------------------------------------------------------


def test_jobs_are_scored_in_order_and_those_of_the_bulk_queue_last(waiting_kit: Kit) -> None:
    scored: list[str] = []

    def score(text: str) -> float:
        scored.append(text)
        return 0.0

    waiting_kit.scores = score
    client = Client()
    client.submit("bulk", bulk=True)
    client.submit_many(["first", "second"])
    client.submit("third")
    assert waiting_kit.drain(2) == 2
    assert scored == ["first", "second"]
    assert waiting_kit.drain() == 2
    assert scored == ["first", "second", "third", "bulk"]
    assert waiting_kit.drain() == 0


def test_a_job_that_runs_is_not_cancelled(waiting_kit: Kit) -> None:
    client = Client()
    job, other = client.submit_many(["x", "y"])
    assert waiting_kit.start_jobs(1) == 1
    assert job.status() is JobStatus.RUNNING
    assert job.cancel() is False
    assert other.cancel() is True
    (worker,) = client.service_status().workers
    assert worker.in_flight_jobs == 1
    assert waiting_kit.drain() == 1
    assert job.result().outcomes


def test_a_paused_kit_scores_when_its_block_ends(kit: Kit) -> None:
    with kit.paused():
        job = Client().submit("x")
        assert job.status() is JobStatus.QUEUED
    assert job.status() is JobStatus.DONE


# --- Failures ---------------------------------------------------------------------------------


def test_texts_of_the_next_jobs_end_in_an_error(kit: Kit) -> None:
    client = Client()
    kit.fail_next(ErrorCode.BUDGET_EXHAUSTED)
    kit.fail_next("engine_unavailable")
    for code in ("budget_exhausted", "engine_unavailable"):
        (outcome,) = client.submit("x").result().outcomes
        assert isinstance(outcome, TextError)
        assert outcome.code == code
    assert isinstance(client.submit("x").result().outcomes[0], Prediction)


@pytest.mark.parametrize("code", ["ScoringFailed", "TooManyTokens", "ScheduleFull", "NotEncrypted"])
def test_the_next_job_fails_as_a_whole(kit: Kit, code: str) -> None:
    kit.fail_next(code)
    job = Client().submit("x")
    with pytest.raises(JobFailed) as caught:
        job.result()
    assert caught.value.code == code
    assert Client().dead.count() == {}


def test_a_job_whose_workers_were_lost_is_a_dead_letter(kit: Kit) -> None:
    client = Client()
    kit.fail_next("WorkerLost")
    job = client.submit("x")
    with pytest.raises(JobFailed, match="WorkerLost"):
        job.result()
    (letter,) = client.dead.entries()
    assert (letter.code, letter.deliveries, letter.job_id) == ("worker_lost", 3, job.id)
    assert client.dead.texts(letter) == ["x"]
    assert client.dead.retry(letter) is RetryResult.RETRIED
    assert job.result().outcomes


def test_map_raises_the_error_of_a_failed_job_or_isolates_its_texts(kit: Kit) -> None:
    client, texts = Client(), ["good", "bad", "day"]
    kit.fail_next("WorkerLost")
    with pytest.raises(JobFailed):
        list(client.map(texts, texts_per_job=2))
    jobs: list[JobOutcome] = []
    kit.fail_next("WorkerLost", jobs=2)
    kit.fail_next("TooManyTokens")
    outcomes = list(
        client.map(texts, texts_per_job=2, jobs_in_flight=1, isolate=True, on_job=jobs.append)
    )
    assert [each.code if isinstance(each, TextError) else each.label for each in outcomes] == [
        *(ErrorCode.INFERENCE_FAILED, ErrorCode.TEXT_TOO_LONG, "neutral")
    ]
    assert "WorkerLost" in repr(outcomes[0])
    assert [job.model for job in jobs] == ["sentq.testing"]
    with pytest.raises(InvalidInput, match="isolate does not go with key"):
        client.map(texts, isolate=True, key="k")


def test_map_of_the_other_client_isolates_texts_too(kit: Kit) -> None:
    async def outcomes() -> list[object]:
        async with AsyncClient() as client:
            kit.fail_next("ScoringFailed", jobs=2)
            return [each async for each in client.map(["good", "bad"], isolate=True)]

    failed, scored = asyncio.run(outcomes())
    assert isinstance(failed, TextError)
    assert failed.code is ErrorCode.INFERENCE_FAILED
    assert isinstance(scored, Prediction)


def test_an_unknown_code_is_refused_with_those_that_are_known(kit: Kit) -> None:
    with pytest.raises(
        ValueError, match=r"there is no code 'Nonsense'.*inference_failed.*WorkerLo"
    ):
        kit.fail_next("Nonsense")


def test_faults_last_for_their_blocks(kit: Kit) -> None:
    client = Client()
    job = client.submit("x")
    faults: list[tuple[Any, type[Exception]]] = [
        (kit.broker_down, BrokerUnavailable),
        (kit.queue_full, QueueFull),
        (kit.redis_full, RedisFull),
    ]
    for fault, error in faults:
        with fault():
            with fault(), pytest.raises(error):
                client.submit("x")
            with pytest.raises(error):
                client.submit_many(["x", "y"])
            with kit.skip_waits(), pytest.raises(error):
                client.batch(["x"], timeout=30)
        client.submit("x")
    with kit.broker_down(), pytest.raises(ResultsUnavailable):
        job.status()
    with kit.queue_full(), kit.skip_waits(), pytest.raises(Overloaded):
        list(client.map(["x"], timeout=30))


def test_a_broker_that_goes_down_while_a_call_waits(waiting_kit: Kit) -> None:
    job = Client().submit("x")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.result, 60)
        time.sleep(0.1)
        with waiting_kit.broker_down():
            time.sleep(0.3)
            waiting_kit.clock.advance(31)
            with pytest.raises(ResultsUnavailable, match="went away while waiting"):
                waiting.result(30)


# --- Time -------------------------------------------------------------------------------------


def _run_alone(*lines: str) -> str:
    """Run lines with a kit whose jobs wait, in a process with one thread; return what they print.

    The process of the tests may have threads that other tests have left.
    """
    code = ["from sentq import *", "from sentq.testing import *", "with manual() as kit:"]
    code += [f"    {line}" for line in lines]
    command = [sys.executable, "-c", "\n".join(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def test_a_wait_takes_no_time_if_nothing_can_happen_meanwhile() -> None:
    printed = _run_alone(
        "before_s = kit.clock.now_s",
        "try: Client().submit('x').result(timeout=600)",
        "except WaitTimeout: print(kit.clock.now_s - before_s >= 600)",
    )
    assert printed == "True\n"


def test_a_wait_that_cannot_end_fails() -> None:
    printed = _run_alone("Client().submit('x').result()")
    assert EndlessWait.__name__ in printed
    assert "drain()" in printed


def test_a_wait_ends_when_another_thread_drains(waiting_kit: Kit) -> None:
    job = Client().submit("x")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.result)
        time.sleep(0.05)
        assert not waiting.done()
        waiting_kit.drain()
        assert waiting.result(30).outcomes


def test_a_wait_ends_when_time_passes(waiting_kit: Kit, another_thread: None) -> None:
    job = Client().submit("x")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.result, 600)
        time.sleep(0.05)
        waiting_kit.clock.advance(601)
        with pytest.raises(WaitTimeout):
            waiting.result(30)
    with waiting_kit.skip_waits(), pytest.raises(WaitTimeout):
        job.result(timeout=600)


def test_tasks_wait_without_blocking_others(waiting_kit: Kit) -> None:
    async def main() -> None:
        async with AsyncClient() as client:
            jobs = await client.submit_many(map(str, range(50)))
            waiting = [asyncio.create_task(job.result(timeout=600)) for job in jobs]
            await asyncio.sleep(0.02)
            assert not any(task.done() for task in waiting)
            waiting_kit.drain(25)
            await asyncio.gather(*waiting[:25])
            waiting[25].cancel()
            waiting_kit.clock.advance(601)
            done = await asyncio.gather(*waiting[25:], return_exceptions=True)
            assert {type(each) for each in done} == {asyncio.CancelledError, WaitTimeout}
            with waiting_kit.skip_waits(), pytest.raises(WaitTimeout):
                await jobs[-1].result(timeout=600)
            with waiting_kit.skip_waits(), pytest.raises(EndlessWait):
                await jobs[-1].result()

    asyncio.run(main())


def test_event_loops_of_two_threads(kit: Kit) -> None:
    client = AsyncClient()

    def run(number: int) -> int:
        async def main() -> int:
            jobs = await client.submit_many([f"{number}"] * 20)
            outcomes = [each async for each in client.results(jobs, timeout=30)]
            return len(outcomes)

        return asyncio.run(main())

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, range(4))) == [20] * 4


def test_outcomes_and_keys_expire(kit: Kit) -> None:
    client = Client()
    job = client.submit("x", key="a key")
    kit.clock.advance(24 * 60 * 60 + 5)
    assert job.status() is JobStatus.UNKNOWN
    with pytest.raises(JobExpired):
        job.result()
    assert client.submit("other texts", key="a key").id != job.id


def test_dead_letters_expire(kit: Kit) -> None:
    client = Client(dead_letter_ttl_s=60)
    kit.fail_next("WorkerLost")
    client.submit("x")
    assert client.dead.count() == {"worker_lost": 1}
    kit.clock.advance(61)
    assert client.dead.count() == {}


def test_a_job_is_due_when_just_its_delay_has_passed(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between two milliseconds, and no time passes but that of the kit.
    stopped = SimpleNamespace(time=lambda: 1_800_000_000.0005, monotonic=time.monotonic)
    monkeypatch.setattr("sentq.wire.clock.time", stopped)
    with Client() as client:
        job = client.submit("Good.", delay=3600)
        kit.clock.advance(3600)
        assert job.status() is JobStatus.DONE


def test_time_does_not_run_backwards(kit: Kit) -> None:
    with pytest.raises(ValueError, match="backwards"):
        kit.clock.advance(-1)


# --- What was sent ----------------------------------------------------------------------------


def test_submitted_jobs_are_recorded_with_what_they_were_sent_with(waiting_kit: Kit) -> None:
    client = Client()
    first = client.submit(["a", "b"], bulk=True, deadline=60, local_only=True, key="a key")
    with pytest.raises(InvalidInput, match="a model has a name of at most 64 letters"):
        client.submit("c", model="two words")
    with pytest.raises(KeyConflict):
        client.submit(["a", "b"], local_only=True, key="a key", model="large")
    client.submit("c", model="large")
    batch = client.batch(["d"])
    job, _, in_batch = waiting_kit.submitted
    assert (job.id, job.texts, job.queue) == (first.id, ("a", "b"), "sentq.bulk")
    assert (job.deadline_s, job.local_only, job.batch_id) == (60, True, None)
    assert in_batch.batch_id == batch.id
    assert waiting_kit.assert_submitted(key="a key", bulk=True, deadline=60, local_only=True) == [
        job
    ]
    assert waiting_kit.assert_submitted(model="large", jobs=1)[0].texts == ("c",)
    waiting_kit.assert_submitted(jobs=3)
    waiting_kit.assert_submitted("never", jobs=0)


def test_a_missing_job_fails_the_test_with_a_list_of_those_that_were_submitted(
    waiting_kit: Kit,
) -> None:
    with pytest.raises(AssertionError, match=r"0 jobs match, not such a job\. Submitted: none"):
        waiting_kit.assert_submitted()
    waiting_kit.assert_nothing_submitted()
    Client().submit("the text")
    for wrong in (
        {"texts": "another text"},
        {"texts": ["the text", "and another"]},
        {"bulk": True},
        {"deadline": 5},
        {"local_only": True},
        {"key": "a key"},
        {"jobs": 2},
    ):
        with pytest.raises(AssertionError, match="the text"):
            waiting_kit.assert_submitted(**wrong)
    with pytest.raises(AssertionError, match="1 jobs were submitted"):
        waiting_kit.assert_nothing_submitted()


def test_a_published_task_is_run_with_arguments_that_were_json(kit: Kit) -> None:
    seen: list[object] = []

    def store_review(batch_id: str, pair: list[int], *, what: str) -> str:
        seen.append((batch_id, pair, what))
        return "stored"

    app = Celery("shop")
    store = app.task(name="shop.store")(store_review)
    batch = Client().batch(["x"], then=store.s((1, 2), what="reviews"))
    (task,) = kit.published
    assert task.queue is None
    assert task.run(app) == "stored"
    assert seen == [(batch.id, [1, 2], "reviews")]


# --- Its Redis --------------------------------------------------------------------------------


def test_a_command_that_it_does_not_have_is_an_error() -> None:
    with pytest.raises(ResponseError, match="the test kit of sentq has no FLUSHALL"):
        execute_command(MemoryDatabase(), ("FLUSHALL",))


@pytest.mark.parametrize(
    "wait",
    [
        lambda _, job: job.result(timeout=60),
        lambda client, job: list(client.results([job], timeout=60)),
        lambda client, job: list(client.as_completed([job], timeout=60)),
        lambda client, _: list(client.map(["x"], timeout=60)),
        lambda client, _: client.batch(["x"]).wait(timeout=60),
    ],
    ids=["result", "results", "as_completed", "map", "batch"],
)
def test_each_call_that_waits_is_woken(
    waiting_kit: Kit, wait: Callable[[Client, Any], object]
) -> None:
    client = Client()
    job = client.submit("x")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait, client, job)
        time.sleep(0.05)
        with waiting_kit.running():
            assert waiting.result(30) is not None
