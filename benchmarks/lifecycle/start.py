"""How long a worker takes from its start to the first outcome, and how long imports take.

    python -m benchmarks.lifecycle.start [--json] [--before FOLDER] [--rounds N]

Each number is the least of all rounds: other work on the machine only makes them larger. With an
older checkout, rounds of both come in turn. The worker has the bundled model, so `sentq-model` must
be installed.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

from benchmarks.attacks.checkout import Checkout
from benchmarks.figures import show
from benchmarks.lifecycle.checkouts import checkouts, named, parser_with_before
from sentq import Client
from sentq.dev.embedded import find_redis_server
from tests.support.processes import RedisProcess, WorkerProcess

__all__ = ["import_s", "main", "start_s"]

_TIMEOUT_S: Final = 300

_IMPORTS: Final = {
    "import_sentq": "import sentq",
    "import_client": "from sentq import Client",
    "import_and_make_client": "from sentq import Client; Client(broker_url='redis://localhost:1')",
}


def import_s(checkout: Checkout, statement: str) -> float:
    """Return how much longer a Python takes that runs a statement than one that runs none."""
    return _run_s(checkout, statement) - _run_s(checkout, "pass")


def start_s(checkout: Checkout) -> tuple[float, float]:
    """Return the time from the start of a worker to its first outcome, and the worker's time of
    the processor up to then and its end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = RedisProcess(find_redis_server(), folder).start()
        try:
            with Client(broker_url=server.url) as client:
                job = client.submit("The first job.")
                cpu_before_s = _children_cpu_s()
                began_at = time.perf_counter()
                environment = checkout.environment(SENTQ_BROKER_URL=server.url)
                worker = WorkerProcess(folder, environment, ("sentq_worker",))
                try:
                    job.result(timeout=_TIMEOUT_S)
                    taken_s = time.perf_counter() - began_at
                finally:
                    worker.stop()
                return taken_s, _children_cpu_s() - cpu_before_s
        finally:
            server.stop()


def _run_s(checkout: Checkout, statement: str) -> float:
    began_at = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], env=checkout.environment(), check=True)
    return time.perf_counter() - began_at


def _children_cpu_s() -> float:
    """Return the time of the processor that the ended children of this process have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure, and print the figures."""
    parser = parser_with_before(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often to measure")
    options = parser.parse_args()
    measured: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for checkout_name, checkout in checkouts(options).items():
            figures = {f"{name}_s": import_s(checkout, code) for name, code in _IMPORTS.items()}
            figures["start_s"], figures["start_cpu_s"] = start_s(checkout)
            for name, value in named(checkout_name, figures).items():
                measured[name].append(value)
    least = {name: round(min(values), 3) for name, values in measured.items()}
    if options.before is not None:
        for name in ("import_sentq_s", "start_s", "start_cpu_s"):
            least[f"now_to_before_{name}"] = round(
                least[f"now_{name}"] / max(least[f"before_{name}"], 0.001), 2
            )
    show(least, as_json=options.json)


if __name__ == "__main__":
    main()
