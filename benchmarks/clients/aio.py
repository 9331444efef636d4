"""The client for asyncio beside the one that blocks: latency of single jobs, many jobs at once.

    python -m benchmarks.clients.aio [--json] [--jobs N] [--at-once N] [--turns N]

The worker's engine returns at once; worker and Redis share one core. Clients take turns of single
jobs: one is sent and its outcome awaited, then the next one. Each client has its own connections,
which stay open. A latency is the median of the turns' medians. Then so many jobs are sent and
awaited at once in one event loop, in each turn. Meanwhile the connections to Redis are counted, and
a task that sleeps for a millisecond at a time finds the longest time for which the loop ran nothing
else, and how long its thread computed meanwhile, without the time of other processes.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.figures import argument_parser, show
from benchmarks.queue import SENTQ, Bench
from sentq import AsyncClient, Client
from tests.support.web.stalls import StallMeter, Stalls

__all__ = ["measure"]

_TEXT: Final = "A hundred characters of plain English, as a short review of a film may be written."

_TIMEOUT_S: Final = 60

#: How often the connections are counted while jobs are awaited.
_COUNT_INTERVAL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class AtOnce:
    """What was measured while many jobs were sent and awaited at once.

    Attributes:
        jobs_per_s: Jobs sent, scored and received a second.
        connections: The most connections of the client.
        cpu_us_per_job: What this process computed for each job, in microseconds.
        stalls: For how long the event loop ran no other task.
    """

    jobs_per_s: float
    connections: int
    cpu_us_per_job: float
    stalls: Stalls


def _turn_of_blocking(client: Client, jobs: int) -> list[float]:
    """Return the times from sending to outcome, in milliseconds."""
    found = []
    for _ in range(jobs):
        started = time.perf_counter()
        client.submit(_TEXT).result(timeout=_TIMEOUT_S)
        found.append((time.perf_counter() - started) * 1000)
    return found


async def _turn(client: AsyncClient, jobs: int) -> list[float]:
    """Return the times from sending to outcome, in milliseconds."""
    found = []
    for _ in range(jobs):
        started = time.perf_counter()
        job = await client.submit(_TEXT)
        await job.result(timeout=_TIMEOUT_S)
        found.append((time.perf_counter() - started) * 1000)
    return found


async def _at_once(loop: _LoopOfTurns, bench: Bench, jobs: int) -> AtOnce:
    """Send and await jobs at once, in one event loop."""

    async def one(number: int) -> None:
        await (await loop.client.submit(f"{_TEXT} {number}")).result(timeout=_TIMEOUT_S)

    with bench.redis.client() as redis:

        def connections() -> int:
            return sum(each["name"] == loop.name for each in redis.client_list())

        most = 0
        meter = StallMeter()
        started, started_cpu = time.perf_counter(), time.process_time()
        calls = asyncio.gather(*map(one, range(jobs)))
        while not calls.done():
            await asyncio.wait([calls], timeout=_COUNT_INTERVAL_S)
            most = max(most, await asyncio.to_thread(connections))
        await calls
        elapsed_s = time.perf_counter() - started
        cpu_s = time.process_time() - started_cpu
        await meter.aclose()
        return AtOnce(jobs / elapsed_s, most, cpu_s / jobs * 1e6, meter.take())


class _LoopOfTurns:
    """An event loop and a client, which are kept from one turn to the next. Redis knows the
    connections of the client by `name`."""

    def __init__(
        self, bench: Bench, name: str, factory: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        self.runner = asyncio.Runner(loop_factory=factory)
        self.name = f"sentq-{name}"
        self.client = AsyncClient(broker_url=f"{bench.redis.url}?client_name={self.name}")

    def turn(self, jobs: int) -> float:
        """Return the median latency of a turn, in milliseconds."""
        return statistics.median(self.runner.run(_turn(self.client, jobs)))

    def close(self) -> None:
        """Close the client and the loop."""
        self.runner.run(self.client.aclose())
        self.runner.close()


def _figures(turns: Sequence[AtOnce]) -> dict[str, float]:
    """Return the medians of the turns, and the longest stalls of all."""
    median, worst = statistics.median, max
    return {
        "at_once_per_s": round(median(each.jobs_per_s for each in turns)),
        "at_once_cpu_us_per_job": round(median(each.cpu_us_per_job for each in turns), 1),
        "connections": worst(each.connections for each in turns),
        "stall_ms": round(median(each.stalls.longest_ms for each in turns), 1),
        "stall_ms_worst": round(worst(each.stalls.longest_ms for each in turns), 1),
        "stall_cpu_ms": round(median(each.stalls.longest_cpu_ms for each in turns), 1),
        "stall_cpu_ms_worst": round(worst(each.stalls.longest_cpu_ms for each in turns), 1),
    }


def measure(*, jobs: int, at_once: int, turns: int) -> dict[str, object]:
    """Run all measurements once, and return the figures."""
    import uvloop

    # As web applications should, once they have started: a full collection takes some 100 ms.
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        loops = {
            "asyncio": _LoopOfTurns(bench, "asyncio", asyncio.new_event_loop),
            "uvloop": _LoopOfTurns(bench, "uvloop", uvloop.new_event_loop),
        }
        medians: dict[str, list[float]] = {"blocking": [], "asyncio": [], "uvloop": []}
        figures: dict[str, object] = {}
        try:
            with bench.worker(SENTQ):
                for _ in range(turns):
                    turn_ms = statistics.median(_turn_of_blocking(bench.client, jobs))
                    medians["blocking"].append(turn_ms)
                    for name, loop in loops.items():
                        medians[name].append(loop.turn(jobs))
                for name, loop in loops.items():
                    many = [loop.runner.run(_at_once(loop, bench, at_once)) for _ in range(turns)]
                    figures |= {f"{name}_{key}": value for key, value in _figures(many).items()}
        finally:
            for loop in loops.values():
                loop.close()
            bench.close()
    p50_ms = {name: statistics.median(turn) for name, turn in medians.items()}
    return {
        "turns": turns,
        "jobs_per_turn": jobs,
        **{f"{name}_p50_ms": round(value, 3) for name, value in p50_ms.items()},
        "asyncio_ratio": round(p50_ms["asyncio"] / p50_ms["blocking"], 2),
        "uvloop_ratio": round(p50_ms["uvloop"] / p50_ms["blocking"], 2),
        "at_once": at_once,
        **figures,
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--jobs", type=int, default=300, help="single jobs of a turn (%(default)s)")
    add("--at-once", type=int, default=2000, help="jobs awaited at once (%(default)s)")
    add("--turns", type=int, default=7, help="turns of each client (%(default)s)")
    options = parser.parse_args()
    figures = measure(jobs=options.jobs, at_once=options.at_once, turns=options.turns)
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
