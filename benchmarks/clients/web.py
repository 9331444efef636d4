"""A web application that awaits scores: requests a second, and how long its event loop stalls.

    python -m benchmarks.clients.web [--json] [--requests N] [--turns N]

A FastAPI application runs under uvicorn, with both kinds of event loop: as it is, and `paced`, with
a middleware that lets few requests begin in a turn of the loop. It gets so many requests at once,
each on a connection of its own. For comparison it gets as many that only pause: what these stall is
FastAPI's and uvicorn's. A task of the application that sleeps for a millisecond at a time
finds the stalls: for how long it did not run, and how long the loop's thread computed meanwhile.
The latter does not contain the time in which other processes had the core. Figures are medians of
the turns, and the largest of all turns as `_worst`.

The worker's engine returns at once. Redis and worker share one core; application and requests share
the others.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Final

from benchmarks.figures import argument_parser, show
from benchmarks.queue import SENTQ, Bench
from tests.support.web.server import Response, WebServer, request, requests

__all__ = ["measure"]

_LOOPS: Final = ("asyncio", "uvloop")
_APPS: Final = {"": "app", "_paced": "paced_app"}
_PATHS: Final = {"scores": "/scores", "pauses": "/pauses"}


def _turn(port: int, path: str, texts: Sequence[str]) -> dict[str, float]:
    """Send requests at once; return the rate and the stalls."""
    asyncio.run(request(port, "GET", "/stalls"))
    started_s = time.perf_counter()
    responses = asyncio.run(requests(port, path, texts))
    elapsed_s = time.perf_counter() - started_s
    for response in responses:
        if not isinstance(response, Response) or response.status != 200:
            raise RuntimeError(f"a request failed: {response}")
    stalls = asyncio.run(request(port, "GET", "/stalls")).body
    return {
        "per_s": len(texts) / elapsed_s,
        "stall_ms": stalls["longest_ms"],
        "stall_cpu_ms": stalls["longest_cpu_ms"],
    }


def _figures(turns: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the medians of the turns, and the longest stalls of all."""
    figures = {}
    for what in turns[0]:
        values = [each[what] for each in turns]
        figures[what] = round(statistics.median(values), 1)
        if what != "per_s":
            figures[f"{what}_worst"] = round(max(values), 1)
    return figures


def measure(*, count: int, turns: int) -> dict[str, object]:
    """Run all measurements, and return the figures."""
    texts = [f"Request {number}: a short review of a film." for number in range(count)]
    figures: dict[str, object] = {"requests": count, "turns": turns}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            with bench.worker(SENTQ):
                for loop, (suffix, app) in product(_LOOPS, _APPS.items()):
                    options = ("--loop", loop, "--no-access-log")
                    web = WebServer(Path(folder), bench.redis.url, *options, app=app)
                    web.wait_until_ready()
                    for name, path in _PATHS.items():
                        found = [_turn(web.port, path, texts) for _ in range(turns)]
                        prefix = f"{loop}{suffix}_{name}"
                        figures |= {
                            f"{prefix}_{key}": each for key, each in _figures(found).items()
                        }
                    web.stop()
        finally:
            bench.close()
    return figures


def main() -> None:
    """Measure, and print the figures."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--requests", type=int, default=500, help="requests at once (%(default)s)")
    add("--turns", type=int, default=9, help="turns of each kind (%(default)s)")
    options = parser.parse_args()
    show(measure(count=options.requests, turns=options.turns), as_json=options.json)


if __name__ == "__main__":
    main()
