"""`sentq-worker --processes N` beside one process, in one run: cores, texts and model are the same.

    python -m benchmarks.lifecycle.processes [--json] [--texts N] [--repeats N] [--cores A,B]

Three services, each with a Redis of its own and the bundled model:

    one_core       one process with one thread; it, Redis and the client have the first core
    processes      `--processes N`, one process for each core; all cores
    threads        one process with as many threads; all cores

They take turns, so that other work of the machine slows down all of them alike; the processes of
the others are stopped meanwhile. Figures are medians over the turns. From client to client, so that
the ratios contain all costs of the queue.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.figures import argument_parser, show
from benchmarks.texts import make_texts
from benchmarks.turns import timed
from sentq import Client
from sentq.contract import Outcome, Prediction
from sentq.dev.embedded import find_redis_server
from tests.support.processes import RedisProcess, WorkerProcess, eventually

_TIMEOUT_S: Final = 600

#: A start takes seconds, and longer beside other work.
_START_S: Final = 180


class ComparedService:
    """A Redis, a client and a `sentq-worker` on some cores, stopped except for its turns.

    Args:
        folder: For its files.
        options: Options of `sentq-worker`.
        cores: The cores of all of its processes.
        dtype: The data type of the weights.
    """

    def __init__(
        self, folder: Path, options: Sequence[str], cores: Sequence[int], *, dtype: str
    ) -> None:
        folder.mkdir()
        self._cores = set(cores)
        os.sched_setaffinity(0, self._cores)  # Its processes inherit it.
        self._redis = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
        environment = {
            "SENTQ_BROKER_URL": self._redis.url,
            "SENTQ_WORKER_DEVICE": "cpu",
            "SENTQ_WORKER_DTYPE": dtype,
            "XDG_CACHE_HOME": str(folder),  # Each makes trials with its own number of threads.
        }
        self._worker = WorkerProcess(folder, environment, ("sentq_worker", *options))
        self._client = Client(broker_url=self._redis.url)
        ready = "processes are ready" if "--processes" in options else "ready."
        eventually(
            lambda: ready in self._worker.log or self._worker.process.poll() is not None,
            within_s=_START_S,
            what="a service",
        )
        if self._worker.process.poll() is not None:
            raise RuntimeError(self._worker.log)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Let its processes run for the block, and this one on its cores."""
        self._signal(signal.SIGCONT)
        os.sched_setaffinity(0, self._cores)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def rate(self, texts: Sequence[str]) -> float:
        """Return the texts that it scores a second. Each must have a prediction."""
        with self.turn():
            time_s, outcomes = timed(self._map, texts)
        if not all(isinstance(outcome, Prediction) for outcome in outcomes):
            raise RuntimeError("a text has no prediction")
        return len(texts) / time_s

    def _map(self, texts: Sequence[str]) -> list[Outcome]:
        return list(self._client.map(texts, timeout=_TIMEOUT_S))

    def stop(self) -> None:
        """Stop all of its processes."""
        self._signal(signal.SIGCONT)
        self._client.close()
        self._worker.stop()
        self._redis.stop()

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker and its children. Redis is idle without them."""
        pid = self._worker.process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
            for process in (pid, *map(int, children.split())):
                os.kill(process, number)


def measure(
    texts: Sequence[str], *, cores: Sequence[int], repeats: int, dtype: str
) -> dict[str, object]:
    """Return the rates of the three services, and their ratios."""
    count = str(len(cores))
    ways = {
        "one_core": (("--threads", "1"), cores[:1]),
        "processes": (("--processes", count), cores),
        "threads": (("--threads", count), cores),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        services = {}
        for name, (options, its_cores) in ways.items():
            service = ComparedService(Path(folder) / name, options, its_cores, dtype=dtype)
            stack.callback(service.stop)
            services[name] = service
            service.rate(texts[: max(1, len(texts) // 4)])  # A warm-up; stopped from now on.
        for _ in range(repeats):
            for name, service in services.items():
                rates[name].append(service.rate(texts))
    one, processes, threads = (statistics.median(each) for each in rates.values())
    return {
        "texts": len(texts),
        "repeats": repeats,
        "cores": len(cores),
        "one_core_tps": round(one, 1),
        "processes_tps": round(processes, 1),
        "threads_tps": round(threads, 1),
        "processes_over_one_core": round(processes / one, 3),
        "threads_over_one_core": round(threads / one, 3),
        "processes_over_threads": round(processes / threads, 3),
    }


def main() -> None:
    """Print the figures: one per line, or one JSON object."""
    parser = argument_parser(__doc__)
    parser.add_argument("--texts", type=int, default=2000, help="texts per turn (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each (%(default)s)")
    parser.add_argument("--dtype", default="auto", help="as in SENTQ_WORKER_DTYPE (%(default)s)")
    parser.add_argument("--cores", help="the cores to use, separated by commas (default: two)")
    options = parser.parse_args()
    usable = sorted(os.sched_getaffinity(0))
    cores = [int(core) for core in options.cores.split(",")] if options.cores else usable[:2]
    if len(cores) < 2:
        parser.error(f"two cores or more are needed; this process may use {len(usable)}")
    figures = measure(
        make_texts(options.texts), cores=cores, repeats=options.repeats, dtype=options.dtype
    )
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
