"""How long a worker takes from its start to the first outcome, and how long imports take.

    python -m benchmarks.lifecycle.start [--json] [--before FOLDER] [--rounds N]

Each number is the least of all rounds: other work on the machine only makes them larger. With an
older checkout, rounds of both come in turn. Times of the processor (`_cpu_s`) are those of the
whole process, with its end. A first start finds no results of trials that an earlier one has kept.
All modules are compiled before. The worker has the bundled model, so `sentq-model` must be
installed.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.attacks.checkout import Checkout
from benchmarks.figures import show
from benchmarks.lifecycle.checkouts import checkouts, named, parser_with_before
from benchmarks.slope import resident_mib
from sentq import Client
from sentq.dev.embedded import find_redis_server
from tests.support.processes import RedisProcess, WorkerProcess

__all__ = ["StartCost", "main", "start"]

_TIMEOUT_S: Final = 300

_PROGRAMS: Final = {
    "python": "pass",
    "import_sentq": "import sentq",
    "make_client": "from sentq import Client; Client(broker_url='redis://localhost:1')",
}

#: After so many starts a worker uses the results of trials that are kept.
_STARTS_WITH_TRIALS: Final = 2


class StartCost(NamedTuple):
    """What something has taken: the time, the time of the processor, and memory in MiB."""

    s: float
    cpu_s: float
    mib: float = 0.0


def start(checkout: Checkout, cache: Path) -> StartCost:
    """Start a worker that has a job to score; return what it takes until the outcome is there.

    Args:
        checkout: The version of the worker.
        cache: The user's cache folder, as the worker sees it.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = RedisProcess(find_redis_server(), folder).start()
        try:
            with Client(broker_url=server.url) as client:
                job = client.submit("The first job.")
                environment = _environment(
                    checkout, SENTQ_BROKER_URL=server.url, XDG_CACHE_HOME=str(cache)
                )
                mib = 0.0

                def run() -> float:
                    nonlocal mib
                    began_at = time.perf_counter()
                    worker = WorkerProcess(folder, environment, ("sentq_worker",))
                    try:
                        job.result(timeout=_TIMEOUT_S)
                        taken_s = time.perf_counter() - began_at
                        mib = resident_mib(worker.process.pid)
                    finally:
                        worker.stop()
                    return taken_s

                return _measured(run)._replace(mib=mib)
        finally:
            server.stop()


def _run(checkout: Checkout, program: str) -> StartCost:
    command = [sys.executable, "-c", program]

    def run() -> float:
        began_at = time.perf_counter()
        subprocess.run(command, env=_environment(checkout), check=True)
        return time.perf_counter() - began_at

    return _measured(run)


def _measured(run: Callable[[], float]) -> StartCost:
    """Return what `run` takes, which returns the time, in processes that have ended then."""
    before_s = _children_cpu_s()
    taken_s = run()
    return StartCost(taken_s, _children_cpu_s() - before_s)


def _children_cpu_s() -> float:
    """Return the time of the processor that the ended children of this process have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _environment(checkout: Checkout, **variables: str) -> dict[str, str]:
    # Modules of an installed package are compiled. Here they are as they are first imported.
    return checkout.environment(PYTHONDONTWRITEBYTECODE="", **variables)


def _figures(checkout: Checkout, kept: Path) -> dict[str, float]:
    """Measure all once."""
    with tempfile.TemporaryDirectory() as empty:
        taken = {"first_start": start(checkout, Path(empty)), "start": start(checkout, kept)}
    taken |= {name: _run(checkout, program) for name, program in _PROGRAMS.items()}
    return {
        f"{name}_{unit}": value
        for name, each in taken.items()
        for unit, value in each._asdict().items()
        if value
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = parser_with_before(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often to measure")
    options = parser.parse_args()
    measured: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        versions = {name: (each, Path(folder, name)) for name, each in checkouts(options).items()}
        for checkout, kept in versions.values():
            for _ in range(_STARTS_WITH_TRIALS):
                start(checkout, kept)
        for _ in range(options.rounds):
            for version, (checkout, kept) in versions.items():
                for name, value in named(version, _figures(checkout, kept)).items():
                    measured[name].append(value)
    least = {name: round(min(values), 3) for name, values in measured.items()}
    if options.before is not None:
        for name in ("start_s", "start_cpu_s", "start_mib", "make_client_cpu_s"):
            ratio = least[f"now_{name}"] / least[f"before_{name}"]
            least[f"now_to_before_{name}"] = round(ratio, 2)
    show(least, as_json=options.json)


if __name__ == "__main__":
    main()
