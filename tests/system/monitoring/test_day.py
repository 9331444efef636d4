"""A day of a service: every metric, every alert and every panel, in a real Prometheus.

`pytest -s` prints the steps with what was compared in each. `MONITORING_RECORD=FILE` keeps the data
of the dashboard's panels, from which `make pictures` draws them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from transformers import AutoTokenizer

from sentq.wire.ids import new_job_ids
from sentq.wire.reports import WorkerReport, remove_report, write_report
from sentq_worker.testing import LocalHub
from tests.support.celery.site import stock_app
from tests.support.missing import redis_program
from tests.support.monitoring.comparisons import Between, Compared, waiting_jobs
from tests.support.monitoring.day import Day, DayJob
from tests.support.monitoring.metrics_page import documented_metrics
from tests.support.monitoring.observability import alerts, panels, write_short_rules
from tests.support.monitoring.prometheus import PrometheusServer
from tests.support.monitoring.scrape import promtool_complaints, scrape
from tests.support.processes import RedisProcess, eventually
from tests.support.workers.gated import release

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

#: The targets of this day, in seconds.
TARGETS_S: Final = {"sentq": 40, "sentq.bulk": 3600, "drain": 60}

WORDS: Final = ("good", "bad", "fine", "poor", "great", "awful")
TOKEN: Final = "hf_local"
CALLS_PER_DAY: Final = 200
CHARS_PER_MONTH: Final = 1_000_000
GATED: Final = ("celery", "-A", "tests.support.workers.gated", "worker", "-l", "INFO")
STANDIN: Final = ("tests.support.workers.standin",)


def texts_of(name: str, count: int, *, words: int = 3) -> list[str]:
    """Return texts that other names do not have."""
    return [f"{name} {n} " + " ".join([WORDS[n % 6]] * (words + n % 5)) for n in range(count)]


def jobs_of(name: str, count: int) -> list[list[str]]:
    """Return the texts of jobs with one text each."""
    return [[text] for text in texts_of(name, count)]


@pytest.fixture
def day(tmp_path: Path, tiny_model: Path) -> Iterator[Day]:
    for name in ("redis", "rules", "prometheus"):
        (tmp_path / name).mkdir()
    for name in ("morning", "evening"):
        shutil.copytree(tiny_model, tmp_path / name)
    write_short_rules(tmp_path / "rules", TARGETS_S)
    server = RedisProcess(redis_program(), tmp_path / "redis").start()
    try:
        with PrometheusServer(tmp_path / "prometheus", tmp_path / "rules") as prometheus:
            day = Day(tmp_path, server, prometheus, tiny_model)
            try:
                yield day
            finally:
                day.close()
    finally:
        server.stop()


class ScoringSteps:
    """Two workers with models: load, idle times, and what goes away."""

    def __init__(self, day: Day, folder: Path) -> None:
        self.day = day
        self._folder = folder
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder / "morning")
        self._early: list[DayJob] = []

    @property
    def all(self) -> list[Callable[[], None]]:
        return [
            self.only_redis_and_the_exporter,
            self.two_workers_start,
            self.load,
            self.the_same_texts_again,
            self.idle,
            self.jobs_for_later,
            self.messages_that_cannot_be_read,
            self.webhooks_that_wait,
            self.a_worker_has_another_model,
            self.a_worker_is_killed,
            self.redis_is_away,
            self.the_exporter_is_away,
            self.redis_is_nearly_full,
        ]

    def only_redis_and_the_exporter(self) -> None:
        day = self.day
        day.begin_cause("SentqNoWorker")
        day.start_exporter()
        day.watch_alerts()
        sent_s = time.time()
        self._early = day.send(jobs_of("early", 30), bulk=True)
        day.compare(oldest_sent_s=sent_s, states={})
        assert day.prometheus.value("sentq_drain_seconds") is None, "no worker has a pace"
        day.await_alerts("SentqNoWorker")

    def two_workers_start(self) -> None:
        day = self.day
        self._start("morning")
        self._start("evening")
        day.await_workers()
        day.end_cause("SentqNoWorker")
        day.record(self._early)
        day.compare()

    def load(self) -> None:
        day = self.day
        single = [day.client.submit(text) for text in texts_of("single", 100)]
        sent = [
            DayJob([text], job.id)
            for text, job in zip(texts_of("single", 100), single, strict=True)
        ]
        sent += day.send([texts_of(f"bulk {n}", 8) for n in range(60)], bulk=True)
        sent += day.send(jobs_of("single", 900)[100:])
        with stock_app(day.server.url) as stock:  # The client itself refuses such texts.
            bad = ["", "x" * 120_000]
            sent.append(DayJob(bad, stock.send_task("sentq.score", args=[bad], queue="sentq").id))
        late = day.client.submit("too late", deadline=0.001)
        sent.append(DayJob(["too late"], late.id))
        day.record(sent)
        day.compare()
        pages = [f"http://{worker.instance}" for worker in day.workers.values()]
        for url in (*pages, day.exporter_url):
            assert promtool_complaints(scrape(url).text) == ""

    def the_same_texts_again(self) -> None:
        day = self.day
        day.record(day.send(jobs_of("single", 900)))
        assert sum(worker.ledger.hits for worker in day.workers.values()) > 0
        day.compare()

    def idle(self) -> None:
        day = self.day
        counters = '{__name__=~"sentq_.*_(total|count|sum)"}'

        def unchanged() -> Iterator[Compared]:
            now_s = time.time()
            found = day.prometheus.query_range(counters, start_s=now_s - 5, end_s=now_s, step_s=1)
            changed = [dict(one.labels) for one in found if len({n for _, n in one.values}) > 1]
            assert len(found) > 50
            yield Compared("all counters", changed, [])

        time.sleep(6)
        day.compare(unchanged)
        assert day.firing() == set()

    def jobs_for_later(self) -> None:
        day = self.day
        day.client.submit_many(texts_of("later", 25), delay=3600)
        due = day.client.submit_many(texts_of("soon", 10), delay=8)
        day.compare()
        assert day.prometheus.value("sentq_scheduled_jobs") == 35
        assert day.prometheus.value("sentq_ready_jobs") == 10
        sent = zip(texts_of("soon", 10), due, strict=True)
        day.record([DayJob([text], job.id) for text, job in sent])
        day.compare()
        assert day.prometheus.value("sentq_scheduled_jobs") == 25
        assert day.prometheus.value("sentq_ready_jobs") == 0

    def messages_that_cannot_be_read(self) -> None:
        day = self.day
        with day.causing("SentqDeadLettersGrowing"):
            for _ in range(3):
                day.redis.lpush("sentq", b"this is no message")
            eventually(lambda: day.redis.xlen("sentq.dead") == 3)
            day.compare()
            day.await_alerts("SentqDeadLettersGrowing")

    def webhooks_that_wait(self) -> None:
        day = self.day
        day.redis.rpush("sentq.webhooks", "one", "two")  # Nothing delivers them here.
        day.redis.zadd("sentq.webhooks.due", {"three": 1e15})
        with day.causing("SentqDeadWebhooksGrowing"):
            day.redis.zadd("sentq.webhooks.dead", {"four": 1.0})
            day.compare()
            day.await_alerts("SentqDeadWebhooksGrowing")
        assert day.prometheus.values("sentq_webhooks", "place") == {("waiting",): 3, ("dead",): 1}

    def a_worker_has_another_model(self) -> None:
        day = self.day
        now_s = time.time()
        other = WorkerReport(
            worker="other", at_s=now_s, started_at_s=now_s, queues=("sentq",), model="other"
        )
        with day.causing("SentqWorkersDiffer"):
            write_report(day.redis, other, lifetime_s=300)
            day.await_alerts("SentqWorkersDiffer")
            remove_report(day.redis, other.worker)
        day.compare()

    def a_worker_is_killed(self) -> None:
        day = self.day
        day.begin_cause("SentqWorkerDown")
        with day.causing("SentqRedeliveries"):
            heavy = [texts_of(f"heavy {n}", 160, words=30) for n in range(60)]
            sent = day.send(heavy, bulk=True)
            instance = day.workers["evening"].instance
            eventually(lambda: scrape(f"http://{instance}").value("sentq_jobs_in_flight") > 3)
            day.kill_worker("evening")
            outcomes = day.record(sent)
            attempts = Counter((outcome.model, outcome.attempts) for outcome in outcomes)
            assert attempts["morning", 2] > 0
            assert set(attempts) <= {("morning", 1), ("morning", 2), ("evening", 1)}
            day.workers["morning"].redeliveries["lease_expired"] = attempts["morning", 2]
            day.compare(self._no_series_of(instance))
            day.await_alerts("SentqRedeliveries", "SentqWorkerDown")
        self._start("evening")
        day.await_workers()
        day.end_cause("SentqWorkerDown")
        day.compare()

    def redis_is_away(self) -> None:
        day = self.day

        def only_that() -> Iterator[Compared]:
            series = day.prometheus.query('{job="sentq-exporter",__name__=~"sentq_.*"}')
            seen = {(one.labels["__name__"], one.values[-1][1]) for one in series}
            yield Compared("all of the exporter", seen, {("sentq_redis_up", 0.0)})

        with day.causing("SentqRedisDown"):
            day.server.kill()
            day.compare_workers(only_that)
            day.await_alerts("SentqRedisDown")
            day.server.start()
            day.compare()
        day.record(day.send(jobs_of("after", 50)))
        day.compare()

    def the_exporter_is_away(self) -> None:
        day = self.day
        with day.causing("SentqExporterDown"):
            day.stop_exporter()
            day.compare_workers()
            day.await_alerts("SentqExporterDown")
            day.start_exporter()
            day.compare()

    def redis_is_nearly_full(self) -> None:
        day = self.day
        with day.causing("SentqRedisMemory"):
            memory: Any = day.redis.info("memory")
            day.redis.config_set("maxmemory", memory["used_memory"] * 10 // 9)
            day.compare()
            day.await_alerts("SentqRedisMemory")
            day.redis.config_set("maxmemory", 0)
            day.compare()

    def _start(self, name: str) -> None:
        self.day.start_worker(
            name,
            {
                "SENTQ_WORKER_MODEL": str(self._folder / name),
                "SENTQ_WORKER_CACHE_SECRET": "a secret of this day",
                # The texts of this day are English.
                "SENTQ_WORKER_LANGUAGES": "de",
            },
            info={"model": name, "device": "local:cpu", "dtype": "float32"},
            tokens=lambda text: len(self._tokenizer(text)["input_ids"]),
        )

    def _no_series_of(self, instance: str) -> Callable[[], Iterator[Compared]]:
        def check() -> Iterator[Compared]:
            series = self.day.prometheus.query(f'{{instance="{instance}",__name__=~"sentq_.*"}}')
            left = {one.labels["__name__"] for one in series}
            yield Compared("all of the killed worker", left, set())
            up = self.day.prometheus.values(f'up{{instance="{instance}"}}')
            yield Compared("up", up, {(): 0.0})

        return check


class BacklogSteps:
    """A worker that hangs, and then is slower than jobs come."""

    _of_a_backlog = frozenset({"SentqOldestJob", "SentqDrainTimeRising"})

    def __init__(self, day: Day) -> None:
        self.day = day
        self._sent: list[DayJob] = []

    @property
    def all(self) -> list[Callable[[], None]]:
        return [
            self.five_thousand_jobs_wait_for_a_worker_that_hangs,
            self.jobs_come_faster_than_they_are_scored,
            self.another_worker_catches_up,
        ]

    def five_thousand_jobs_wait_for_a_worker_that_hangs(self) -> None:
        day = self.day
        self._start("slow", GATED, STANDIN_DELAY_S="1", SENTQ_WORKER_PREFETCH_JOBS="16")
        day.await_workers()
        day.stop_worker("morning")
        day.stop_worker("evening")
        day.compare()
        with day.causing("SentqWorkerAnswersNothing"):
            sent_s = time.time()
            self._sent = day.send([["hold:0"], ["hold:1"], ["hold:2"]])
            eventually(lambda: day.redis.zcard("unacked_index") == 3)
            self._send_in_four_priorities(1250)
            day.workers["slow"].in_flight = 16
            day.compare(oldest_sent_s=sent_s, states={"busy": 1})
            waiting = waiting_jobs(day.redis)
            assert [waiting["sentq", priority] for priority in "369"] == [1250] * 3
            assert waiting["sentq", "0"] == 1250 - 13, "the worker has taken the first ones"
            day.await_alerts("SentqWorkerAnswersNothing")
            for n in range(3):
                release(day.redis, str(n))
            eventually(lambda: self._left() < len(self._sent), within_s=60)

    def jobs_come_faster_than_they_are_scored(self) -> None:
        day = self.day
        day.begin_cause(*self._of_a_backlog)
        until_s = time.monotonic() + 120
        completed: list[tuple[float, int]] = []
        while time.monotonic() < until_s and not self._of_a_backlog <= day.firing():
            self._sent += day.send(jobs_of(f"more {len(self._sent)}", 100))
            completed.append((time.monotonic(), len(self._sent) - self._left()))
            time.sleep(1)
        (first_s, first), (last_s, last) = completed[len(completed) // 3], completed[-1]
        pace = (last - first) / (last_s - first_s)

        def is_right() -> bool:
            left_s = self._left() / pace
            return day.prometheus.value("sentq_drain_seconds") == Between(left_s / 2, left_s * 2)

        eventually(is_right, what=f"a drain time of jobs that are completed at {pace} a second")
        day.steps[-1].compared.append("sentq_drain_seconds")
        day.await_alerts(*self._of_a_backlog)

    def another_worker_catches_up(self) -> None:
        day = self.day
        self._start("fast", STANDIN)
        day.await_workers()
        # To a client, a job of another sender is unknown until it has an outcome.
        eventually(lambda: not self._left(), within_s=120, what="an empty backlog")
        day.end_cause(*self._of_a_backlog)
        day.workers["fast"].has_more_batches = True
        day.record(self._sent)
        day.workers["slow"].in_flight = 0
        day.compare()

    def _start(self, name: str, command: tuple[str, ...], **environment: str) -> None:
        self.day.start_worker(
            name,
            {"STANDIN_MODEL": f"{name}@1", **environment},
            command=command,
            info={"model": name, "revision": "1"},
        )

    def _left(self) -> int:
        waiting = sum(waiting_jobs(self.day.redis).values())
        return waiting + self.day.redis.zcard("unacked_index")

    def _send_in_four_priorities(self, count: int) -> None:
        """Send jobs as a stock Celery application does, with ids that tell when they were sent."""
        with stock_app(self.day.server.url) as stock:
            for priority in (0, 3, 6, 9):
                texts = texts_of(f"priority {priority}", count)
                for text, job_id in zip(texts, new_job_ids(count), strict=True):
                    stock.send_task(
                        "sentq.score",
                        args=[[text]],
                        queue="sentq",
                        priority=priority,
                        task_id=job_id,
                    )
                    self._sent.append(DayJob([text], job_id))


class HubSteps:
    """A worker that calls the Hub, which fails and refuses."""

    def __init__(self, day: Day, folder: Path, hub: LocalHub) -> None:
        self.day = day
        self._folder = folder
        self._hub = hub

    @property
    def all(self) -> list[Callable[[], None]]:
        return [
            self.the_hub_scores,
            self.the_hub_fails,
            self.the_budget_of_the_hub_ends,
            self.the_hub_refuses_the_token,
        ]

    def the_hub_scores(self) -> None:
        day, url = self.day, self._hub.url
        day.start_worker(
            "hub",
            {
                "HF_ENDPOINT": url,
                "HF_TOKEN": TOKEN,
                "HF_HOME": str(self._folder / "hub-cache"),
                "SENTQ_WORKER_PROVIDER": "hub",
                "SENTQ_WORKER_HUB_MODEL": "owner/model",
                "SENTQ_WORKER_HUB_ROUTER": f"{url}/hf-inference",
                "SENTQ_WORKER_HUB_PROBE_INTERVAL_S": "1",
                "SENTQ_WORKER_HUB_ATTEMPTS": "1",
                "SENTQ_WORKER_HUB_BREAKER_FAILURES": "2",
                "SENTQ_WORKER_HUB_CALLS_PER_DAY": str(CALLS_PER_DAY),
                "SENTQ_WORKER_HUB_CHARS_PER_MONTH": str(CHARS_PER_MONTH),
            },
            info={"model": "owner/model", "device": "hub", "dtype": "remote"},
        )
        day.await_workers()
        day.stop_worker("slow")
        day.stop_worker("fast")
        day.record(day.send(jobs_of("remote", 40)))
        day.compare(self._of_the_hub)

    def the_hub_fails(self) -> None:
        day = self.day
        with day.causing("SentqBreakerOpen"):
            self._hub.script("always 500")
            day.workers["hub"].has_more_batches = True
            sent = day.send(jobs_of("failing", 3))
            day.await_alerts("SentqBreakerOpen")
            self._hub.script("ok")
            day.record(sent)
            day.compare(self._of_the_hub)

    def the_budget_of_the_hub_ends(self) -> None:
        day = self.day
        with day.causing("SentqHubBudgetNearEnd"):
            day.record(day.send(jobs_of("last", CALLS_PER_DAY * 95 // 100 - self._hub.calls)))
            day.compare(self._of_the_hub)
            day.await_alerts("SentqHubBudgetNearEnd")
            day.redis.delete("sentq.hub.budget")  # An administrator lets it begin again.
            day.record(day.send([["one more"]]))
            eventually(lambda: day.prometheus.value('sentq_hub_budget_used{unit="calls"}') == 1)

    def the_hub_refuses_the_token(self) -> None:
        day = self.day
        with day.causing("SentqBreakerStopped"):
            self._hub.script("always 401")
            job = day.client.submit("refused")
            eventually(lambda: day.prometheus.value('sentq_breaker_state{state="stopped"}') == 1)
            day.await_alerts("SentqBreakerStopped")
            day.stop_worker("hub")
        assert job.cancel()

    def _of_the_hub(self) -> Iterator[Compared]:
        """Compare the metrics of the Hub with its own calls, and with Redis."""
        prometheus, calls = self.day.prometheus, float(self._hub.calls)
        results = prometheus.values("sentq_hub_calls_total", "result")
        yield Compared("sentq_hub_calls_total", sum(results.values()), calls)
        states = prometheus.values("sentq_breaker_state", "state")
        expected = dict.fromkeys(states, 0.0) | {("closed",): 1.0}
        yield Compared("sentq_breaker_state", states, expected)
        budget: Any = self.day.redis.hgetall("sentq.hub.budget")
        used = {
            ("day", "calls"): float(budget[b"day_calls"]),
            ("month", "chars"): float(budget[b"month_chars"]),
        }
        assert used["day", "calls"] == calls
        name = "sentq_hub_budget_used"
        yield Compared(name, prometheus.values(name, "period", "unit"), used)
        name = "sentq_hub_budget_limit"
        limits = {("day", "calls"): CALLS_PER_DAY, ("month", "chars"): CHARS_PER_MONTH}
        yield Compared(name, prometheus.values(name, "period", "unit"), limits)


def test_a_day(day: Day, tmp_path: Path) -> None:
    with LocalHub(token=TOKEN) as hub:
        steps = [
            *ScoringSteps(day, tmp_path).all,
            *BacklogSteps(day).all,
            *HubSteps(day, tmp_path, hub).all,
        ]
        for step in steps:
            day.begin(step.__name__.replace("_", " "))
            step()
    fired = day.check_alerts()
    _print_table(day, fired)
    # No worker of this day has children; tests/system/lifecycle/test_group.py has such workers.
    assert set(fired) == set(alerts()) - {"SentqDrift", "SentqProcessGivenUp", "SentqRollFailed"}
    compared = {metric for step in day.steps for metric in step.compared}
    elsewhere = documented_metrics("Metrics of a group") | documented_metrics("Metrics of a roll")
    documented = set(documented_metrics()) - set(elsewhere)
    assert documented <= {re.sub(r"_(bucket|sum|count)$", "", metric) for metric in compared}
    _check_panels(day)


def _print_table(day: Day, fired: dict[str, int]) -> None:
    print("\n| Step | Seconds | Comparisons | Of so many names |\n|---|---|---|---|")  # noqa: T201
    ends_s = [*(step.started_s for step in day.steps[1:]), time.time()]
    for step, end_s in zip(day.steps, ends_s, strict=True):
        seconds, names = round(end_s - step.started_s), len(set(step.compared))
        print(f"| {step.title} | {seconds} | {len(step.compared)} | {names} |")  # noqa: T201
    print("\n".join(f"{alert}: {times}" for alert, times in sorted(fired.items())))  # noqa: T201


def _check_panels(day: Day) -> None:
    """Check that each query of the dashboard had data in this day; keep the data if asked to."""
    end_s = time.time()
    recorded: list[dict[str, Any]] = []
    for panel in panels(rate_interval="5s"):
        for expression, legend in panel.queries:
            found = day.prometheus.query_range(
                expression, start_s=day.started_s, end_s=end_s, step_s=1
            )
            assert found, f"{panel.title} has no data: {expression}"
            series = [{"labels": dict(one.labels), "values": one.values} for one in found]
            recorded.append({"title": panel.title, "legend": legend, "series": series})
    if file := os.environ.get("MONITORING_RECORD"):
        steps = [(step.title, step.started_s) for step in day.steps]
        content = {"start_s": day.started_s, "end_s": end_s, "steps": steps, "queries": recorded}
        Path(file).write_text(json.dumps(content), encoding="utf-8")
