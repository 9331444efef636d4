"""The processes of a run: a Redis that syncs each write, workers and producers behind proxies,
and a supervisor that restarts workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from sentq.dev.embedded import find_redis_server
from tests.chaos.producer import ProducerOrder
from tests.support.celery.published_results import PublishedResults
from tests.support.fork_server import ForkedProcess, ForkServer
from tests.support.processes import RedisProcess, WorkerProcess
from tests.support.proxy import Proxy

__all__ = ["SENTQ", "STOCK", "ChaosSite", "SupervisedWorker", "WorkerKind", "WorkerRun"]

_REDIS_OPTIONS: Final = (
    *("--appendfsync", "always"),
    # The subscriber of all results must not be disconnected because it is slow.
    *("--client-output-buffer-limit", "pubsub", "0", "0", "0"),
)

_POLL_INTERVAL_S: Final = 0.05


@dataclass(frozen=True)
class WorkerKind:
    """A kind of worker.

    Attributes:
        name: Its name in figures.
        module: The module whose `main()` it runs.
        environment: Its environment variables.
        imports: Modules to import once, before workers are forked.
    """

    name: str
    module: str
    environment: Mapping[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()


SENTQ: Final = WorkerKind("sentq", "tests.support.workers.standin")
STOCK: Final = WorkerKind("stock", "tests.support.workers.stock")


@dataclass
class WorkerRun:
    """One process of a supervised worker, from its start to its end."""

    worker: WorkerProcess
    record: Path
    started_s: float
    is_ready: bool = False
    #: Whether a fault or the test ends the process on purpose.
    is_end_expected: bool = False


class SupervisedWorker:
    """A worker behind a proxy, which is restarted when its process ends."""

    def __init__(self, site: ChaosSite, number: int, proxy: Proxy) -> None:
        self._site = site
        self._number = number
        self.proxy = proxy
        self.runs: list[WorkerRun] = []
        #: Exit code and log of each process that ended unexpectedly.
        self.unexpected: list[str] = []
        self.start()

    @property
    def current(self) -> WorkerRun:
        """The process that runs, or the last one."""
        return self.runs[-1]

    def start(self) -> None:
        """Start a new process."""
        site = self._site
        record = site.folder / f"worker-{self._number}-{len(self.runs)}.batches"
        environment = {
            "SENTQ_BROKER_URL": self.proxy.url,
            "SENTQ_VISIBILITY_TIMEOUT_S": str(site.visibility_timeout_s),
            "SENTQ_WORKER_THREADS": "1",
            "STANDIN_RECORD": str(record),
            **site.worker_kind.environment,
        }
        command = (site.worker_kind.module,)
        worker = WorkerProcess(site.folder, environment, command, fork_server=site.fork_server)
        self.runs.append(WorkerRun(worker, record, time.monotonic()))

    def supervise(self) -> None:
        """Check whether the process is ready; start a new one if it has ended."""
        current = self.current
        ended = current.worker.process.poll()
        if ended is not None:
            if not current.is_end_expected:
                self.unexpected.append(f"exit code {ended}: {current.worker.log[-2000:]}")
            self.start()
        elif not current.is_ready:
            current.is_ready = "ready." in current.worker.log


class ChaosSite:
    """The processes of a run. A context manager, which kills them at the end.

    Args:
        folder: Where the append-only file, logs and records are kept.
        worker_kind: The kind of worker.
        workers: The number of workers.
        producers: The order of each producer without its address; see `ProducerOrder`.
        visibility_timeout_s: When the jobs of a lost worker are requeued.
    """

    def __init__(
        self,
        folder: Path,
        worker_kind: WorkerKind,
        *,
        workers: int,
        producers: Sequence[Mapping[str, object]],
        visibility_timeout_s: int,
    ) -> None:
        self.folder = folder
        self.worker_kind = worker_kind
        self.visibility_timeout_s = visibility_timeout_s
        self._worker_count = workers
        self._orders_without_address = producers
        self._stack = ExitStack()
        self._ended = threading.Event()
        self.workers: list[SupervisedWorker] = []
        self.orders: list[ProducerOrder] = []
        self.producers: list[ForkedProcess] = []
        self.producer_proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        data = self.folder / "redis"
        data.mkdir()
        self.redis = RedisProcess(find_redis_server(), data, *_REDIS_OPTIONS).start()
        self._stack.callback(self.redis.kill)
        self.fork_server = self._stack.enter_context(ForkServer(self.worker_kind.imports))
        self.published = PublishedResults(self.redis.port)
        self.published.start()
        self._stack.callback(self.published.close)
        for number in range(self._worker_count):
            proxy = self._stack.enter_context(Proxy(self.redis.port))
            self.workers.append(SupervisedWorker(self, number, proxy))
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_supervising()
        for worker in self.workers:
            process = worker.current.worker.process
            if process.poll() is None:
                process.kill()
                process.wait(10)
        self._stack.close()

    def start_producers(self) -> None:
        """Start the producers."""
        for given in self._orders_without_address:
            proxy = self._stack.enter_context(Proxy(self.redis.port))
            order = ProducerOrder(url=proxy.url, folder=str(self.folder), **given)  # type: ignore[arg-type]
            log = self.folder / f"{order.name}.log"
            self.producer_proxies.append(proxy)
            self.orders.append(order)
            self.producers.append(
                self.fork_server.start("tests.chaos.producer", order.environment, log)
            )

    def proxy_of(self, target: int) -> Proxy:
        """Return the proxy of a worker, or, beyond these, of a producer."""
        if target < len(self.workers):
            return self.workers[target].proxy
        return self.producer_proxies[target - len(self.workers)]

    def stop_supervising(self) -> None:
        """Stop restarting workers."""
        self._ended.set()
        self._supervisor.join(10)

    def stop_workers(self) -> list[int]:
        """Send SIGTERM to all workers, and return their exit codes."""
        self.stop_supervising()
        return [worker.current.worker.stop() for worker in self.workers]

    def _supervise(self) -> None:
        while not self._ended.wait(_POLL_INTERVAL_S):
            for worker in self.workers:
                worker.supervise()
