"""A Deployment of workers, and the kubelet that starts and ends them."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.rehearsal.shipped import WorkerPod
from tests.support.monitoring.scrape import get
from tests.support.network.namespaces import Namespace, Network
from tests.support.processes import LoggedProcess

__all__ = ["Deployment", "EndedPod"]

#: How long a node takes to start a container whose image it has.
_START_S: Final = 3.0

_IN_FLIGHT: Final = re.compile(r"^sentq_jobs_in_flight (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class EndedPod:
    """How a pod has ended.

    Attributes:
        in_flight_jobs: The jobs that it had when it got SIGTERM.
        took_s: How long after SIGTERM it ended.
        exit_code: Its exit code: -9 if the kubelet killed it.
    """

    in_flight_jobs: int
    took_s: float
    exit_code: int


@dataclass(slots=True)
class _Pod:
    """A pod: it waits for its container, runs, and ends."""

    place: Namespace
    starts_at_s: float
    process: LoggedProcess | None = None
    is_ready: bool = False
    in_flight_jobs: int = 0
    term_at_s: float = 0.0


class Deployment:
    """Pods of one kind. One thread uses it.

    Args:
        network: Where their namespaces are.
        folder: Where their logs are.
        pod: What is shipped of them.
        environment: Variables in addition to these.
    """

    def __init__(
        self, network: Network, folder: Path, pod: WorkerPod, environment: Mapping[str, str]
    ) -> None:
        self._network = network
        self._folder = folder
        self._pod = pod
        self._environment = pod.environment | dict(environment)
        self._places: list[Namespace] = []
        self._pods: list[_Pod] = []
        self._ending: list[_Pod] = []
        self._number = 0
        self.ended: list[EndedPod] = []

    @property
    def replicas(self) -> int:
        """How many pods there are, without those that end."""
        return len(self._pods)

    @property
    def ready(self) -> int:
        """How many of them take jobs."""
        return sum(pod.is_ready for pod in self._pods)

    def close(self) -> None:
        """End all pods, and wait for them."""
        self.scale(0)
        while self._ending:
            self.step()
            time.sleep(0.1)

    def scale(self, replicas: int) -> None:
        """Start or end pods, the youngest first."""
        while len(self._pods) < replicas:
            place = self._places.pop() if self._places else self._network.add()
            self._pods.append(_Pod(place, time.monotonic() + _START_S))
        while len(self._pods) > replicas:
            self._terminate(self._pods.pop())

    def step(self) -> None:
        """Do what a kubelet does: start containers, probe them, kill those that do not end."""
        now_s = time.monotonic()
        for pod in self._pods:
            if pod.process is None:
                if now_s >= pod.starts_at_s:
                    pod.process = self._start(pod.place)
                continue
            assert pod.process.process.poll() is None, pod.process.log
            if not pod.is_ready:
                pod.is_ready = get(self._url(pod, "/readyz"), timeout_s=1).status == 200
        for pod in list(self._ending):
            self._reap(pod, now_s)

    def _start(self, place: Namespace) -> LoggedProcess:
        self._number += 1
        command = place.command([sys.executable, "-m", "tests.rehearsal.worker"])
        log = self._folder / f"worker-{self._number}.log"
        return LoggedProcess(command, self._environment, log)

    def _terminate(self, pod: _Pod) -> None:
        if pod.process is None:  # Its container was not started.
            self._places.append(pod.place)
            return
        pod.in_flight_jobs = _in_flight_jobs(get(self._url(pod, "/metrics")).body)
        pod.term_at_s = time.monotonic()
        pod.process.terminate()
        self._ending.append(pod)

    def _reap(self, pod: _Pod, now_s: float) -> None:
        assert pod.process is not None
        exit_code = pod.process.process.poll()
        took_s = now_s - pod.term_at_s
        if exit_code is None and took_s > self._pod.grace_s:
            pod.process.kill()
            exit_code = -signal.SIGKILL
        if exit_code is not None:
            self._ending.remove(pod)
            self._places.append(pod.place)
            self.ended.append(EndedPod(pod.in_flight_jobs, took_s, exit_code))

    def _url(self, pod: _Pod, path: str) -> str:
        return f"http://{pod.place.address}:{self._pod.metrics_port}{path}"


def _in_flight_jobs(metrics: str) -> int:
    """Return the jobs that a worker has; 0 if it does not answer yet."""
    found = _IN_FLIGHT.search(metrics)
    return int(float(found[1])) if found else 0
