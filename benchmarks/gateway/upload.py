"""A large batch over HTTP: its rate, and the memory of the gateway.

    python -m benchmarks.gateway.upload [--json] [--texts N]

Short texts are uploaded as JSON lines to a gateway, which is killed in the middle. The upload is
repeated, with the same idempotency key, to a second gateway, which also streams the results. The
worker's engine returns at once. Beside it, the same texts are sent by `AsyncClient.batch`.

The run fails if the batch has not exactly the jobs of the texts, if its counts are wrong at any
time, or if a result is missing, stands twice or is out of order.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx2 as httpx

from benchmarks.figures import argument_parser, show
from benchmarks.slope import resident_mib
from sentq import AsyncClient
from sentq.dev.embedded import find_redis_server
from tests.support.gateway.process import GatewayProcess
from tests.support.processes import RedisProcess, WorkerProcess, eventually

_TEXTS_PER_JOB: Final = 64
_LINES_PER_PART: Final = 2000
_HEADERS: Final = {
    "Content-Type": "application/x-ndjson",
    "Idempotency-Key": "a-large-upload",
}

#: How often memory and progress are read, in seconds.
_SAMPLE_S: Final = 0.25


def _text(number: int) -> str:
    return f"Review {number}: arrived on time."


def _body(texts: int, at_half: Callable[[], None] | None = None) -> Iterator[bytes]:
    """Yield the lines of an upload, in parts; call something when half of them were sent."""
    for first in range(0, texts, _LINES_PER_PART):
        if at_half is not None and first <= texts // 2 < first + _LINES_PER_PART:
            at_half()
        numbers = range(first, min(texts, first + _LINES_PER_PART))
        yield b"".join(b'"%s"\n' % _text(number).encode() for number in numbers)


class _Observer(threading.Thread):
    """Reads the memory of a gateway, and the progress of a batch, until it is stopped."""

    def __init__(self, gateway: GatewayProcess) -> None:
        super().__init__()
        self.memory_mib = [resident_mib(gateway.process.pid)]
        self.path: str | None = None
        self.progress: list[dict[str, Any]] = []
        self._gateway = gateway
        self._is_stopped = threading.Event()

    def run(self) -> None:
        """Observe."""
        with self._gateway.client() as http:
            while not self._is_stopped.wait(_SAMPLE_S):
                self.memory_mib.append(resident_mib(self._gateway.process.pid))
                if self.path is not None:
                    self.progress.append(http.get(self.path).json())

    def stop(self) -> None:
        """Stop observing."""
        self._is_stopped.set()
        self.join()


class WrongBatch(Exception):
    """The batch is not what was uploaded."""


def _require(is_right: object, what: str) -> None:
    if not is_right:
        raise WrongBatch(what)


def _upload_until_killed(gateway: GatewayProcess, texts: int) -> None:
    """Upload half of the texts; then kill the gateway."""
    with gateway.client() as http:
        try:
            http.post("/v1/batches", content=_body(texts, gateway.kill), headers=_HEADERS)
        except httpx.TransportError:
            return
    raise WrongBatch("the upload has ended although its gateway was killed")


def _upload_again(gateway: GatewayProcess, texts: int) -> tuple[dict[str, Any], float]:
    """Repeat the upload as soon as the first attempt counts as lost; return the batch and how long
    that took."""

    def attempt() -> Any:
        started_s = time.perf_counter()
        with gateway.client(timeout_s=600) as http:
            response = http.post("/v1/batches", content=_body(texts), headers=_HEADERS)
        if response.status_code == httpx.codes.CONFLICT:
            time.sleep(1)
            return None
        _require(response.status_code == httpx.codes.ACCEPTED, response.text)
        document: dict[str, Any] = response.json()
        return document, time.perf_counter() - started_s

    found: tuple[dict[str, Any], float] = eventually(attempt, within_s=600)
    return found


def _check_results(gateway: GatewayProcess, path: str, texts: int) -> float:
    """Stream all results and check their order; return how long that took."""
    started_s, expected = time.perf_counter(), 0
    with gateway.client(timeout_s=600) as http, http.stream("GET", f"{path}/results") as response:
        for line in response.iter_lines():
            _require(line.startswith(f'{{"index":{expected},"label":'), f"result {expected}")
            expected += 1
    _require(expected == texts, f"{expected} results for {texts} texts")
    return time.perf_counter() - started_s


def _check_progress(documents: list[dict[str, Any]], texts: int) -> None:
    """Fail unless counts never fall, and end with all texts."""
    ended = [each["jobs"]["done"] for each in documents]
    _require(ended == sorted(ended), "counts have fallen")
    last = documents[-1]
    jobs = -(-texts // _TEXTS_PER_JOB)
    counts = (last["texts"], last["jobs"]["total"], last["jobs"]["done"], last["is_complete"])
    _require(counts == (texts, jobs, jobs, True), f"wrong counts: {last}")


async def _send_directly_s(broker_url: str, texts: int) -> float:
    """Return how long `AsyncClient.batch` takes for the same texts."""
    jobs = (
        [_text(number) for number in range(first, min(texts, first + _TEXTS_PER_JOB))]
        for first in range(0, texts, _TEXTS_PER_JOB)
    )
    async with AsyncClient(broker_url=broker_url) as client:
        started_s = time.perf_counter()
        batch = await client.batch(jobs)
        took_s = time.perf_counter() - started_s
        await batch.wait(timeout=600)
    return took_s


def measure(texts: int) -> dict[str, float]:
    """Measure all figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = RedisProcess(find_redis_server(), folder).start()
        environment = {"SENTQ_BROKER_URL": server.url}
        worker = WorkerProcess(folder, environment, ("benchmarks.instant",))
        gateways = [GatewayProcess(folder, server.url) for _ in range(2)]
        try:
            worker.wait_until_ready()
            first, second = (each.wait_until_ready() for each in gateways)
            _upload_until_killed(first, texts)
            observer = _Observer(second)
            observer.start()
            document, upload_s = _upload_again(second, texts)
            uploaded_mib = max(observer.memory_mib)
            observer.path = f"/v1/batches/{document['id']}"
            download_s = _check_results(second, observer.path, texts)
            time.sleep(2 * _SAMPLE_S)
            observer.stop()
            _check_progress(observer.progress, texts)
            direct_s = asyncio.run(_send_directly_s(server.url, texts))
        finally:
            for gateway in gateways:
                if gateway.process.poll() is None:
                    gateway.stop()
            worker.stop()
            server.stop()
    return {
        "texts": texts,
        "jobs": document["jobs"]["total"],
        "memory_before_mib": round(observer.memory_mib[0], 1),
        "memory_most_of_upload_mib": round(uploaded_mib, 1),
        "memory_most_mib": round(max(observer.memory_mib), 1),
        "repeated_upload_s": round(upload_s, 1),
        "uploaded_texts_per_s": round(texts / upload_s),
        "downloaded_texts_per_s": round(texts / download_s),
        "sent_directly_texts_per_s": round(texts / direct_s),
    }


def main() -> None:
    """Measure and print."""
    parser = argument_parser(__doc__)
    parser.add_argument("--texts", type=int, default=1_000_000)
    options = parser.parse_args()
    show(measure(options.texts), as_json=options.json)


if __name__ == "__main__":
    main()
