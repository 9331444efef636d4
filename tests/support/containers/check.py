"""Run the compose stack in real containers, and break it: `make check-containers`.

    python -m tests.support.containers.check [--jobs N] [--kills N] [--seed N] [--build]

Images that are missing are built. Redis with TLS and users, two workers, exporter, Flower, gateway,
deliverer of webhooks and Prometheus are started from docker/compose.yaml. N jobs go in through the
gateway, and each outcome is compared with that of the same text before. Then N more, while a worker
is killed; N more, which wait while Redis is stopped and started; N more, which wait while all
containers are, as when the machine is restarted.

With `--kills`, N jobs are sent once while so many containers are killed at random: workers, gateway
and Redis, which then flushes its file before each reply. The exit status is 0 if no job was lost,
and none failed or got another outcome.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2 as httpx

from sentq.cli.demo import load_reviews
from tests.support.containers.images import NoImage, prepare_images, sizes_mb
from tests.support.containers.jobs import GatewayJobs, NoAnswer
from tests.support.containers.kills import Killer
from tests.support.containers.machine import containers_environment, missing
from tests.support.containers.stack import ComposeStack, StackFailed
from tests.support.processes import eventually

__all__ = ["FIRST", "GATEWAY", "PROMETHEUS", "THEN", "main"]

#: As docker/compose.yaml publishes them.
GATEWAY: Final = "http://127.0.0.1:8200"
PROMETHEUS: Final = "http://127.0.0.1:9090"

_WORKERS: Final = 2

#: The services, in the order of the comment in docker/compose.yaml: a gateway needs a key.
FIRST: Final = ("redis", "worker", "exporter", "flower")
THEN: Final = ("gateway", "webhooks", "prometheus")

#: Reviews up to this length are the texts, so that a run takes minutes on two cores.
_CHARS_PER_TEXT: Final = 80


class _Steps:
    """Prints a row for each step: what was done, the seconds that it took, and what was found."""

    def __init__(self) -> None:
        self._found = ""

    def found(self, text: str) -> None:
        """Say what the step that is under way has found."""
        self._found = text

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step."""
        began, self._found = time.monotonic(), ""
        try:
            yield
        except BaseException:
            self._found = f"FAILED {self._found}"
            raise
        finally:
            sys.stdout.write(f"{name:48} {time.monotonic() - began:8.1f} s  {self._found}\n")
            sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class _StackCheck:
    """The steps with a stack that is not started.

    Attributes:
        stack: The stack.
        steps: Where they are told.
        jobs: How many jobs each step with jobs has.
    """

    stack: ComposeStack
    steps: _Steps
    jobs: int

    @contextmanager
    def started(self) -> Iterator[GatewayJobs]:
        """Start everything, and have jobs to send."""
        with self.steps.step("start Redis, 2 workers, exporter, Flower"):
            self.stack.up(*FIRST)
            self.stack.await_healthy(*FIRST)
        with self.steps.step("make a key; start gateway, webhooks, Prometheus"):
            key = self._operator("gateway", "keys", "create", "check", "--json")["key"]
            self.stack.up(*THEN)
            self.stack.await_healthy(*THEN)
        texts = {each.text for each in load_reviews() if 0 < len(each.text) <= _CHARS_PER_TEXT}
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=GATEWAY, headers=headers, timeout=90) as http:
            yield GatewayJobs(http, sorted(texts))

    def break_each(self, jobs: GatewayJobs) -> None:
        """Send jobs without a fault, and during each fault."""
        account = jobs.account
        with self.steps.step(f"{self.jobs:,} jobs through the gateway"):
            jobs.run(self.jobs)
            self._tell(jobs)
        with self.steps.step(f"{self.jobs:,} jobs, a worker is killed"):
            enough = account.done + self.jobs // 4
            self._during(
                jobs,
                lambda: account.done >= enough,
                lambda: self.stack.kill(self.stack.containers("worker")[0]),
            )
        self._restart_while_jobs_wait(jobs, "Redis is", "redis")
        self._restart_while_jobs_wait(jobs, "all are")

    def _restart_while_jobs_wait(self, jobs: GatewayJobs, name: str, *services: str) -> None:
        """Stop and start services, without any all, while there is no worker to take the jobs."""
        account = jobs.account
        enough = account.jobs + min(self.jobs // 2, 1000)

        def restart() -> None:
            self.stack.compose("stop", *services)
            self.stack.compose("start", *services)
            self.stack.compose("start", "worker")

        with self.steps.step(f"{self.jobs:,} jobs wait, {name} stopped and started"):
            self.stack.compose("stop", "worker")
            self._during(jobs, lambda: account.jobs >= enough, restart)

    def kill_at_random(self, jobs: GatewayJobs, kills: int, seed: int) -> None:
        """Send jobs while containers are killed."""
        account = jobs.account
        killer = Killer(
            self.stack, kills, self.jobs, lambda: account.jobs - account.lost, seed=seed
        )
        with self.steps.step(f"{self.jobs:,} jobs, {kills} kills"):
            killer.start()
            try:
                jobs.run(self.jobs)
            finally:
                killer.stop()
            killed = ", ".join(f"{service} {count}" for service, count in killer.killed.items())
            self._tell(jobs, f"; killed: {killed}")
            assert killer.killed.total() == kills, "not all kills were done"
            self.stack.await_healthy()

    def look_at_metrics(self) -> None:
        """Wait until Prometheus reads the exporter and each worker, and its rules work."""
        with self.steps.step("Prometheus reads all targets"):
            eventually(_are_read, within_s=120, what="targets of Prometheus")
            groups = _ask_prometheus("rules")["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            assert rules
            assert not [rule for rule in rules if rule["health"] == "err"]
            self.steps.found(f"exporter, {_WORKERS} workers; {len(rules)} rules")

    def stop(self) -> None:
        """Stop all in good order: each process ends by itself, before it would be killed."""
        with self.steps.step("stop"):
            letters = self._operator("status", "--json")["dead_letters"]
            assert not letters, f"{letters} dead letters"
            self.stack.compose("stop", *(each for each in (*THEN, *FIRST) if each != "redis"))
            self.stack.compose("stop", "redis")
            states = {each: self.stack.state(each) for each in self.stack.containers()}
            ends = {name: (state["Running"], state["ExitCode"]) for name, state in states.items()}
            assert set(ends.values()) == {(False, 0)}, ends
            self.steps.found(f"no dead letters; {len(ends)} containers ended with status 0")

    def _during(
        self, jobs: GatewayJobs, is_time: Callable[[], bool], fault: Callable[[], None]
    ) -> None:
        """Send jobs, and break something when it is time; all jobs are done in the end."""
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(jobs.run, self.jobs)
            eventually(lambda: is_time() or running.done(), within_s=600, what="jobs under way")
            fault()
            running.result()
        self._tell(jobs)
        self.stack.await_healthy()

    def _tell(self, jobs: GatewayJobs, further: str = "") -> None:
        account = jobs.account
        self.steps.found(f"{account}{further}")
        assert account.done == account.jobs, account

    def _operator(self, *command: str) -> Any:
        """Return what a command of `sentq` says to an operator, as JSON."""
        return json.loads(self.stack.compose("run", "--rm", "-T", "operator", *command))


def _are_read() -> bool:
    wanted = {"sentq-exporter": 1, "sentq-worker": _WORKERS}
    with suppress(httpx.TransportError):
        targets = _ask_prometheus("targets")["activeTargets"]
        jobs = [each["labels"]["job"] for each in targets if each["health"] == "up"]
        return len(targets) == len(jobs) and {job: jobs.count(job) for job in jobs} == wanted
    return False


def _ask_prometheus(page: str) -> Any:
    return httpx.get(f"{PROMETHEUS}/api/v1/{page}", timeout=10).json()["data"]


def _run(options: argparse.Namespace, folder: Path, steps: _Steps) -> None:
    environment = containers_environment(folder)
    with steps.step("images"):
        environment |= prepare_images(environment, folder, is_new=options.build)
        sizes = sizes_mb(environment)
        steps.found(", ".join(f"{name} {size:,.0f} MB" for name, size in sizes.items()))
    cores = max(1, (os.cpu_count() or 1) // _WORKERS)
    environment |= {"SENTQ_WORKER_THREADS": str(cores)}
    if options.kills:
        environment |= {"REDIS_APPENDFSYNC": "always"}
    stack = ComposeStack(folder, environment, workers=_WORKERS)
    stack.remove()
    check = _StackCheck(stack, steps, options.jobs)
    try:
        with check.started() as jobs:
            if options.kills:
                check.kill_at_random(jobs, options.kills, options.seed)
            else:
                check.break_each(jobs)
            check.look_at_metrics()
            check.stop()
    except BaseException:
        with suppress(StackFailed):
            for container in stack.containers():
                sys.stderr.write(f"--- {container}\n{stack.logs(container, lines=20)}\n")
        raise
    finally:
        stack.remove()


def main() -> None:
    """Run the check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=300, help="jobs of each step (300)")
    parser.add_argument("--kills", type=int, default=0, help="containers killed at random (0)")
    parser.add_argument("--seed", type=int, default=1, help="of the random kills (1)")
    parser.add_argument("--build", action="store_true", help="build images of sentq again")
    options = parser.parse_args()
    if absent := missing():
        sys.exit("check-containers needs\n  " + "\n  ".join(absent))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sentq-containers-") as folder:
        try:
            _run(options, Path(folder), _Steps())
        except (AssertionError, NoAnswer, NoImage, StackFailed) as error:
            sys.exit(f"check-containers: FAILED: {error}")
    sys.stdout.write(f"check-containers: passed in {time.monotonic() - began:,.0f} s\n")


if __name__ == "__main__":
    main()
