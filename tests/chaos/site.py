"""Where a run takes place: a Redis that writes everything down before it answers, workers and
producers with a proxy each, and somebody who starts a worker again when it has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from sentq.dev.embedded import find_redis_server
from tests.chaos.answers import PublishedOutcomes
from tests.chaos.producer import Order
from tests.support.forks import Forked, Nursery
from tests.support.processes import RedisProcess, WorkerProcess
from tests.support.proxy import Proxy

__all__ = ["OURS", "STOCK", "ChaosSite", "Life", "Place", "Team"]

_REDIS_OPTIONS: Final = (
    *("--appendfsync", "always"),
    # Whoever counts answers must not be cut off because it is slow.
    *("--client-output-buffer-limit", "pubsub", "0", "0", "0"),
)

_LOOK_AGAIN_S: Final = 0.05


@dataclass(frozen=True)
class Team:
    """A kind of worker: the module whose `main()` it runs, what it is told, and what is imported
    once for all of them."""

    name: str
    module: str
    environment: Mapping[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()


OURS: Final = Team("sentq", "tests.support.workers.standin")
STOCK: Final = Team("stock", "tests.support.workers.stock")


@dataclass
class Life:
    """One process of a worker's place, from its start to its end."""

    worker: WorkerProcess
    record: Path
    started_s: float
    is_ready: bool = False
    #: Whether somebody meant it to end.
    is_doomed: bool = False


class Place:
    """A worker's place behind a proxy: when its process ends the next one starts."""

    def __init__(self, site: ChaosSite, number: int, proxy: Proxy) -> None:
        self._site = site
        self._number = number
        self.proxy = proxy
        self.lives: list[Life] = []
        #: What was said by processes that ended though nobody meant them to.
        self.unexpected: list[str] = []
        self.begin()

    @property
    def life(self) -> Life:
        """The process that runs now, or ran last."""
        return self.lives[-1]

    def begin(self) -> None:
        """Start a process."""
        site = self._site
        record = site.folder / f"worker-{self._number}-{len(self.lives)}.rounds"
        environment = {
            "SENTQ_BROKER_URL": self.proxy.url,
            "SENTQ_VISIBILITY_TIMEOUT_S": str(site.visibility_timeout_s),
            "SENTQ_WORKER_THREADS": "1",
            "STANDIN_RECORD": str(record),
            **site.team.environment,
        }
        command = (site.team.module,)
        worker = WorkerProcess(site.folder, environment, command, nursery=site.nursery)
        self.lives.append(Life(worker, record, time.monotonic()))

    def look(self) -> None:
        """Note whether the process is ready; start the next one where it has ended."""
        life = self.life
        ended = life.worker.process.poll()
        if ended is not None:
            if not life.is_doomed:
                self.unexpected.append(f"exit code {ended}: {life.worker.log[-2000:]}")
            self.begin()
        elif not life.is_ready:
            life.is_ready = "ready." in life.worker.log


class ChaosSite:
    """Real processes, in a folder. A context manager; leaving it kills what still runs.

    Args:
        folder: Where everything lies: the append-only file, logs, records, the oracle.
        team: Which workers.
        workers: How many.
        producers: What each producer is to do, but for its address; see `Order`.
        visibility_timeout_s: After how long the jobs of a lost worker come back.
    """

    def __init__(
        self,
        folder: Path,
        team: Team,
        *,
        workers: int,
        producers: Sequence[Mapping[str, object]],
        visibility_timeout_s: int,
    ) -> None:
        self.folder = folder
        self.team = team
        self.visibility_timeout_s = visibility_timeout_s
        self._workers = workers
        self._orders_without_address = producers
        self._stack = ExitStack()
        self._ended = threading.Event()
        self.places: list[Place] = []
        self.orders: list[Order] = []
        self.producers: list[Forked] = []
        self.producer_proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        data = self.folder / "redis"
        data.mkdir()
        self.redis = RedisProcess(find_redis_server(), data, *_REDIS_OPTIONS).start()
        self._stack.callback(self.redis.kill)
        self.nursery = self._stack.enter_context(Nursery(self.team.imports))
        self.answers = PublishedOutcomes(self.redis.port)
        self.answers.start()
        self._stack.callback(self.answers.close)
        for number in range(self._workers):
            proxy = self._stack.enter_context(Proxy(self.redis.port))
            self.places.append(Place(self, number, proxy))
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_supervising()
        for place in self.places:
            if place.life.worker.process.poll() is None:
                place.life.worker.process.kill()
                place.life.worker.process.wait(10)
        self._stack.close()

    def start_producers(self) -> None:
        """Let the producers begin."""
        for given in self._orders_without_address:
            proxy = self._stack.enter_context(Proxy(self.redis.port))
            order = Order(url=proxy.url, folder=str(self.folder), **given)  # type: ignore[arg-type]
            log = self.folder / f"{order.name}.log"
            self.producer_proxies.append(proxy)
            self.orders.append(order)
            self.producers.append(
                self.nursery.start("tests.chaos.producer", order.environment, log)
            )

    def proxy_of(self, place: int) -> Proxy:
        """The proxy of a worker, or, beyond these, of a producer."""
        if place < len(self.places):
            return self.places[place].proxy
        return self.producer_proxies[place - len(self.places)]

    def stop_supervising(self) -> None:
        """Start no worker again from now on."""
        self._ended.set()
        self._supervisor.join(10)

    def stop_workers(self) -> list[int]:
        """Ask all workers to end with SIGTERM, and return their exit codes."""
        self.stop_supervising()
        return [place.life.worker.stop() for place in self.places]

    def _supervise(self) -> None:
        while not self._ended.wait(_LOOK_AGAIN_S):
            for place in self.places:
                place.look()
