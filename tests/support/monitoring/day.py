"""A scripted day of a service: Redis, workers, an exporter, and a Prometheus that scrapes them."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import redis

from sentq import Client
from sentq.contract import JobOutcome
from sentq.version import VERSION
from tests.support.logs import register_log
from tests.support.monitoring.comparisons import Compared, WatchedWorker, of_redis, of_worker
from tests.support.monitoring.ledger import Ledger
from tests.support.monitoring.prometheus import PrometheusServer
from tests.support.monitoring.scrape import get
from tests.support.ports import free_port
from tests.support.processes import RedisProcess, WorkerProcess, eventually, worker_environment

__all__ = ["Day", "DayJob", "DayStep"]

#: How long a metric may take to be right: a reading of the exporter, a scrape, and the report of a
#: killed worker, which expires after 15 seconds.
_WITHIN_S: Final = 30.0

#: How long an alert may fire after its cause has ended, in seconds: until the next evaluation, and
#: as long as the range of its expression goes back.
_TAIL_S: Final = 6.0
_TAILS_S: Final = {
    "SentqDeadLettersGrowing": 36.0,
    "SentqDeadWebhooksGrowing": 36.0,
    "SentqRedeliveries": 36.0,
}

_FIRING: Final = 'count by (alertname) (ALERTS{alertstate="firing"})'


@dataclass(frozen=True, slots=True)
class DayJob:
    """A job of the test: its texts, its id, its queue."""

    texts: Sequence[str]
    id: str
    queue: str = "sentq"


@dataclass(frozen=True, slots=True)
class DayStep:
    """A part of the day.

    Attributes:
        title: What happens.
        started_s: When it began, in Unix seconds.
        compared: The metrics that were compared, once for each comparison.
    """

    title: str
    started_s: float
    compared: list[str] = field(default_factory=list)


class Day:
    """The services of a day, what their metrics must be, and the causes of alerts.

    Args:
        folder: For data and logs.
        server: A running Redis.
        prometheus: A running Prometheus that scrapes nothing yet.
        model: The folder of a model, for workers that are given none.
    """

    def __init__(
        self, folder: Path, server: RedisProcess, prometheus: PrometheusServer, model: Path
    ) -> None:
        self._folder = folder
        self._model = model
        self.server = server
        self.prometheus = prometheus
        self.client = Client(broker_url=server.url)
        self.redis: redis.Redis = server.client()
        #: Those that should be alive, by their names.
        self.workers: dict[str, WatchedWorker] = {}
        #: Those of which the same model was not started again.
        self._killed: list[WatchedWorker] = []
        self._exporter_port = free_port()
        self._exporter: subprocess.Popen[bytes] | None = None
        self.steps: list[DayStep] = []
        #: From when until when each alert may fire, in Unix seconds.
        self._causes: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self.started_s = time.time()

    @property
    def exporter_url(self) -> str:
        """The address of the exporter."""
        return f"http://127.0.0.1:{self._exporter_port}"

    # --- Processes -------------------------------------------------------------------------

    def start_exporter(self) -> None:
        """Start the exporter, at the same port each time."""
        with register_log(self._folder / "exporter.log").open("ab") as log:
            self._exporter = subprocess.Popen(
                [sys.executable, "-m", "sentq.cli", "exporter", "--port", str(self._exporter_port)],
                env=os.environ | {"SENTQ_BROKER_URL": self.server.url_of("operator")},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        url = f"{self.exporter_url}/livez"
        eventually(lambda: get(url).status == 200, within_s=60, what="an exporter")
        self._scrape()

    def stop_exporter(self) -> None:
        """End the exporter. Prometheus goes on to ask for it."""
        if self._exporter is not None:
            self._exporter.send_signal(signal.SIGTERM)
            assert self._exporter.wait(20) == 0
            self._exporter = None

    def start_worker(
        self,
        name: str,
        environment: Mapping[str, str],
        *,
        command: Sequence[str] = ("sentq_worker",),
        info: Mapping[str, str],
        tokens: Callable[[str], int] | None = None,
    ) -> None:
        """Start a worker. `await_workers` waits for it, and lets Prometheus know it.

        Args:
            name: Its name in this day.
            environment: More variables.
            command: What follows `python -m`.
            info: Its labels of `sentq_worker_info`. No other worker has the same model.
            tokens: Returns the number of tokens of a text, if its model reads them.
        """
        port = free_port()
        variables = worker_environment(self.server.url, self._model) | dict(environment)
        variables |= {"SENTQ_WORKER_METRICS_PORT": str(port), "SENTQ_VISIBILITY_TIMEOUT_S": "5"}
        self.workers[name] = WatchedWorker(
            WorkerProcess(self._folder, variables, command),
            port,
            {"version": VERSION, **info},
            Ledger(tokens),
            has_cache="SENTQ_WORKER_CACHE_SECRET" in environment,
        )
        self._killed = [each for each in self._killed if each.info["model"] != info["model"]]

    def await_workers(self) -> None:
        """Wait until all workers take jobs, and let Prometheus scrape them and no others."""
        for worker in self.workers.values():
            worker.process.wait_until_ready()
        self._scrape()
        self.prometheus.await_targets()  # It may notice new targets five seconds later.

    def stop_worker(self, name: str) -> None:
        """Take a worker from the targets of Prometheus, and end it with SIGTERM."""
        worker = self.workers.pop(name)
        self._scrape()
        self.prometheus.await_targets()
        worker.process.stop()

    def kill_worker(self, name: str) -> None:
        """Kill a worker with SIGKILL. Prometheus goes on to ask for it."""
        worker = self.workers.pop(name)
        worker.process.process.kill()
        worker.process.process.wait()
        self._killed.append(worker)

    def close(self) -> None:
        """End all processes."""
        self.client.close()
        self.redis.close()
        for worker in self.workers.values():
            worker.process.process.kill()
            worker.process.process.wait()
        if self._exporter is not None:
            self._exporter.kill()
            self._exporter.wait()

    def _scrape(self) -> None:
        ports = [worker.port for worker in self.workers.values()]
        self.prometheus.scrape(workers=ports, exporter=self._exporter_port)

    # --- Jobs ------------------------------------------------------------------------------

    def send(self, jobs: Iterable[Sequence[str]], *, bulk: bool = False) -> list[DayJob]:
        """Send jobs with these texts."""
        texts = list(jobs)
        queue = "sentq.bulk" if bulk else "sentq"
        sent = self.client.submit_many(texts, bulk=bulk)
        return [DayJob(each, job.id, queue) for each, job in zip(texts, sent, strict=True)]

    def record(self, jobs: Sequence[DayJob]) -> list[JobOutcome]:
        """Wait for jobs, and note each with the worker that has completed it."""
        owners = {each.info["model"]: each for each in (*self.workers.values(), *self._killed)}
        outcomes = []
        results = self.client.results([job.id for job in jobs], timeout=120)
        for job, outcome in zip(jobs, results, strict=True):
            assert isinstance(outcome, JobOutcome), (job.id, outcome)
            owners[outcome.model].ledger.add(job.texts, job.queue, outcome)
            outcomes.append(outcome)
        return outcomes

    # --- Comparing -------------------------------------------------------------------------

    def begin(self, title: str) -> None:
        """Begin a step. What is compared until the next one belongs to it."""
        self.steps.append(DayStep(title, time.time()))

    def compare(
        self,
        *checks: Callable[[], Iterable[Compared]],
        oldest_sent_s: float | None = None,
        states: Mapping[str, int] | None = None,
    ) -> None:
        """Wait until all metrics of all present workers and of the exporter are right, and these.

        Args:
            checks: What else is compared.
            oldest_sent_s, states: As for `of_redis`; without `states` all workers are idle.

        Raises:
            AssertionError: One is not right. The message has all that are not.
        """
        exporter = partial(
            of_redis,
            *(self.prometheus, self.redis, self.workers.values()),
            oldest_sent_s=oldest_sent_s,
            states={"idle": len(self.workers)} if states is None else states,
        )
        self.compare_workers(exporter, *checks)

    def compare_workers(self, *checks: Callable[[], Iterable[Compared]]) -> None:
        """Wait until all metrics of all present workers are right, and what the checks yield.

        Raises:
            AssertionError: One is not right. The message has all that are not.
        """
        every: list[Callable[[], Iterable[Compared]]] = [
            *(partial(of_worker, self.prometheus, each) for each in self.workers.values()),
            *checks,
        ]
        deadline = time.monotonic() + _WITHIN_S
        while True:
            compared = [each for check in every for each in check()]
            wrong = [each for each in compared if each.seen != each.expected]
            if not wrong:
                break
            assert time.monotonic() < deadline, "\n".join(
                f"{each.metric}: {each.seen}, expected {each.expected}" for each in wrong
            )
            time.sleep(0.25)
        self.steps[-1].compared.extend(each.metric for each in compared)

    # --- Alerts ----------------------------------------------------------------------------

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {series.labels["alertname"] for series in self.prometheus.query(_FIRING)}

    def watch_alerts(self) -> None:
        """Let the day begin when the exporter is scraped: it may have taken long to start."""
        eventually(
            lambda: (
                self.prometheus.value('up{job="sentq-exporter"}') == 1
                and "SentqExporterDown" not in self.firing()
            )
        )
        self.started_s = time.time()

    def begin_cause(self, *alerts: str) -> None:
        """Let these alerts fire from now on. Without a cause they must not."""
        for alert in alerts:
            self._causes[alert].append((time.time(), math.inf))

    def await_alerts(self, *alerts: str) -> None:
        """Wait until these alerts fire."""
        eventually(lambda: set(alerts) <= self.firing(), within_s=90, what=" ".join(alerts))

    def end_cause(self, *alerts: str) -> None:
        """Let these alerts fire for a moment yet, and then no more."""
        for alert in alerts:
            start_s, _ = self._causes[alert].pop()
            self._causes[alert].append((start_s, time.time() + _TAILS_S.get(alert, _TAIL_S)))

    @contextmanager
    def causing(self, *alerts: str) -> Iterator[None]:
        """Let these alerts fire in the block: it makes their cause, and mends it."""
        self.begin_cause(*alerts)
        yield
        self.end_cause(*alerts)

    def check_alerts(self) -> dict[str, int]:
        """Check that each alert fired where it has a cause only; return how often each did."""
        fired: Counter[str] = Counter()
        for series in self.prometheus.query_range(
            _FIRING, start_s=self.started_s, end_s=time.time(), step_s=1
        ):
            alert = series.labels["alertname"]
            moments = [at_s for at_s, _ in series.values]
            fired[alert] = 1 + sum(later - one > 1.5 for one, later in pairwise(moments))
            wrong = [
                round(at_s - self.started_s)
                for at_s in moments
                if not any(start <= at_s <= end for start, end in self._causes[alert])
            ]
            assert not wrong, f"{alert} fired without a cause, {wrong} s after the start"
        assert fired == {alert: len(causes) for alert, causes in self._causes.items()}
        assert self.prometheus.problems() == []
        return dict(fired)
