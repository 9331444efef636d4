"""Single texts over HTTP, for which the client waits: rate and latency, beside `AsyncClient`.

    python -m benchmarks.gateway.load [--json] [--connections N] [--seconds S] [--turns N]

So many connections stay open, and each sends `POST /v1/score` again as soon as it has the response.
For comparison so many tasks send the same text with `AsyncClient` and await its outcome, in one
event loop; and the connections ask for `/livez`, which does nothing: that is what uvicorn and
FastAPI cost. All take turns. The worker's engine returns at once; gateway, client, Redis and worker
share all cores. Figures that do not depend on what else the machine does: how long the gateway's
process computes for a request, and the one of `AsyncClient` for a job; how many commands Redis
executes for each.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import redis

from benchmarks.figures import argument_parser, show
from sentq import AsyncClient, Settings
from sentq.dev.embedded import find_redis_server
from tests.support.gateway.keys import with_new_key
from tests.support.gateway.process import GatewayProcess
from tests.support.processes import RedisProcess, WorkerProcess

__all__ = ["measure"]

_TEXT: Final = "A hundred characters of plain English, as a short review of a film may be written."

_TIMEOUT_S: Final = 60

#: Calls before the first turn, which are not counted.
_WARM_UP_S: Final = 2.0

#: Sends one request, or one job, and awaits its outcome.
_Call = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class _Way:
    """One way, and what was measured of it in all turns.

    Attributes:
        latencies_s: How long each call took.
        took_s: How long the turns took together.
        cpu_s: How long the process computed that is measured.
        commands: How many commands Redis executed.
    """

    latencies_s: list[float] = field(default_factory=list)
    took_s: float = 0.0
    cpu_s: float = 0.0
    commands: int = 0

    @property
    def per_s(self) -> float:
        """Calls a second."""
        return len(self.latencies_s) / self.took_s

    def figures(self, name: str) -> dict[str, float]:
        """Return what is printed."""
        hundredths = statistics.quantiles(self.latencies_s, n=100)
        return {
            f"{name}_per_s": round(self.per_s),
            f"{name}_p50_ms": round(hundredths[49] * 1000, 1),
            f"{name}_p99_ms": round(hundredths[98] * 1000, 1),
            f"{name}_cpu_us": round(self.cpu_s / len(self.latencies_s) * 1e6),
            f"{name}_redis_commands": round(self.commands / len(self.latencies_s), 1),
        }


class _Measured:
    """What is read before and after each turn: the time a process has computed, and the commands
    that Redis has executed, with those of the worker and of scripts.

    Args:
        server: A connection to Redis.
        pid: The process.
    """

    def __init__(self, server: redis.Redis, pid: int) -> None:
        self._server = server
        self._pid = pid

    def read(self) -> tuple[float, int]:
        """Return both."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        stats = self._server.info("commandstats")
        return cpu_s, sum(each["calls"] for each in stats.values())


async def _turn(way: _Way, calls: Sequence[_Call], measured: _Measured, seconds: float) -> None:
    """Let each call be made again and again."""
    cpu_s, commands = measured.read()
    started_s = time.perf_counter()
    end_s = started_s + seconds

    async def again(call: _Call) -> None:
        while (began_s := time.perf_counter()) < end_s:
            await call()
            way.latencies_s.append(time.perf_counter() - began_s)

    await asyncio.gather(*map(again, calls))
    way.took_s += time.perf_counter() - started_s
    cpu_after_s, commands_after = measured.read()
    way.cpu_s += cpu_after_s - cpu_s
    way.commands += commands_after - commands


class _Connection:
    """A connection to the gateway.

    Args:
        host: The host and the port of the gateway.
        key: The key of its requests.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, key: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        body = b'{"texts": "%s"}' % _TEXT.encode()
        head = [f"Host: {host}", f"Authorization: Bearer {key}", "", ""]
        self._empty = "\r\n".join(["GET /livez HTTP/1.1", *head]).encode()
        head[:0] = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        self._score = "\r\n".join(["POST /v1/score HTTP/1.1", *head]).encode() + body

    @classmethod
    async def open(cls, url: str, key: str) -> Self:
        """Open a connection to the gateway."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        return cls(reader, writer, parts.netloc, key)

    async def score(self) -> None:
        """Have a text scored."""
        await self._exchange(self._score)

    async def ask_nothing(self) -> None:
        """Send a request that costs as little as any."""
        await self._exchange(self._empty)

    async def _exchange(self, request: bytes) -> None:
        self._writer.write(request)
        received = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if not received.startswith(b"http/1.1 200 "):
            raise RuntimeError(f"a request failed: {received.decode()}")
        length = received.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))


async def _measure(
    server: redis.Redis,
    broker_url: str,
    gateway: GatewayProcess,
    key: str,
    *,
    connections: int,
    seconds: float,
    turns: int,
) -> dict[str, float]:
    http, direct, empty = _Way(), _Way(), _Way()
    of_gateway = _Measured(server, gateway.process.pid)
    of_client = _Measured(server, os.getpid())
    async with AsyncClient(broker_url=broker_url) as client:

        async def job() -> None:
            await (await client.submit(_TEXT)).result(timeout=_TIMEOUT_S)

        opened = [await _Connection.open(gateway.url, key) for _ in range(connections)]
        ways: list[tuple[_Way, Sequence[_Call], _Measured]] = [
            (http, [each.score for each in opened], of_gateway),
            (direct, [job] * connections, of_client),
            (empty, [each.ask_nothing for each in opened], of_gateway),
        ]
        for _, calls, measured in ways:
            await _turn(_Way(), calls, measured, _WARM_UP_S)
        for _ in range(turns):
            for way, calls, measured in ways:
                await _turn(way, calls, measured, seconds / turns)
    return {
        **http.figures("http"),
        **direct.figures("direct"),
        **empty.figures("empty"),
        "ratio": round(direct.per_s / http.per_s, 2),
        "cpu_ratio": round(
            http.cpu_s / len(http.latencies_s) / (direct.cpu_s / len(direct.latencies_s)), 2
        ),
    }


def measure(*, connections: int, seconds: float, turns: int) -> dict[str, float]:
    """Run all processes and measure."""
    import uvloop

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
        worker = WorkerProcess(
            folder,
            {
                "SENTQ_BROKER_URL": server.url,
                # As in the preset for a GPU.
                "SENTQ_WORKER_PREFETCH_JOBS": "512",
                "SENTQ_WORKER_BATCH_TOKENS": "16384",
            },
            ("benchmarks.instant",),
        )
        gateway = GatewayProcess(folder, server.url)
        try:
            worker.wait_until_ready()
            gateway.wait_until_ready()
            key = with_new_key(Settings.load(broker_url=server.url), "load").key
            with (
                server.client() as connection,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as run,
            ):
                figures = run.run(
                    _measure(
                        connection,
                        server.url,
                        gateway,
                        key,
                        connections=connections,
                        seconds=seconds,
                        turns=turns,
                    )
                )
        finally:
            gateway.stop()
            worker.stop()
            server.stop()
    return {"connections": connections, "seconds": seconds, "turns": turns, **figures}


def main() -> None:
    """Measure, and print the figures."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--connections", type=int, default=200, help="connections at once (%(default)s)")
    add("--seconds", type=float, default=60.0, help="how long each way runs (%(default)s)")
    add("--turns", type=int, default=6, help="turns of each way (%(default)s)")
    options = parser.parse_args()
    figures = measure(connections=options.connections, seconds=options.seconds, turns=options.turns)
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
