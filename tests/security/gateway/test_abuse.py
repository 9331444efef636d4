"""A gateway while clients send what should harm it: what each gets is in docs/gateway.md, ordinary
requests are answered meanwhile, and memory is bounded.

`ABUSE_BYTES=10e9` makes the large bodies as large as the table says.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from benchmarks.slope import resident_mib
from sentq import Settings
from tests.security.gateway.abuses import (
    ABUSES,
    BODY_TIMEOUT_S,
    BYTES,
    ENDS,
    LEFT_STREAMS,
    STAYS,
    STREAMS,
    Abuse,
    AbusedGateway,
    rows,
)
from tests.support.gateway.keys import with_keys, with_new_key
from tests.support.gateway.process import PROBLEMS, GatewayProcess
from tests.support.processes import RedisProcess, eventually
from tests.support.webhooks.deliveries import SECRET

PAGE: Final = Path(__file__).parents[3] / "docs" / "gateway.md"

#: How much more memory the gateway may need than after some ordinary requests, in MiB.
MOST_GROWTH_MIB: Final = 96

#: How long an ordinary request may take, on a machine that runs other tests too, in seconds.
MOST_S: Final = 20

#: How long all of it may take, in seconds: an upload passes Redis and worker with 2 MB/s or more.
TIMEOUT_S: Final = 900 + BYTES // 2_000_000

#: The connections of this process, beside its files.
FILES: Final = STREAMS + 500


class _Neighbour(threading.Thread):
    """Another client, which has texts scored all the time, and looks at the gateway's memory."""

    def __init__(self, gateway: GatewayProcess, key: str) -> None:
        super().__init__()
        self.took_s: list[float] = []
        self.statuses: set[int] = set()
        self.memory_mib: list[float] = []
        self._gateway = gateway
        self._key = key
        self._is_stopped = threading.Event()

    def run(self) -> None:
        """Send requests."""
        with self._gateway.client(self._key) as http:
            while not self._is_stopped.wait(0.05):
                started_s = time.monotonic()
                try:
                    self.statuses.add(http.post("/v1/score", json={"texts": "x"}).status_code)
                except httpx.TransportError:
                    self.statuses.add(0)
                self.took_s.append(time.monotonic() - started_s)
                self.memory_mib.append(resident_mib(self._gateway.process.pid))

    def stop(self) -> None:
        """Stop."""
        self._is_stopped.set()
        self.join()


@pytest.fixture
def gateway(scored_redis: RedisProcess, tmp_path: Path) -> Iterator[GatewayProcess]:
    process = GatewayProcess(
        tmp_path,
        scored_redis.url_of("gateway"),
        SENTQ_GATEWAY_BODY_TIMEOUT_S=str(BODY_TIMEOUT_S),
        SENTQ_GATEWAY_HEARTBEAT_S="2",
        # Large uploads wait for the worker in their connection, not in Redis.
        SENTQ_MAX_QUEUED_BYTES="100000000",
        # Redis writes all of them to its file, and waits while the disk does.
        SENTQ_SOCKET_TIMEOUT_S="60",
        SENTQ_WEBHOOKS_SECRETS=SECRET,
    )
    yield process.wait_until_ready()
    if process.process.poll() is None:
        process.kill()


@pytest.fixture
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _abused(gateway: GatewayProcess, settings: Settings) -> AbusedGateway:
    """Return the gateway with what its clients have."""
    abuser, other, revoked = (with_new_key(settings, name) for name in ("abuser", "other", "old"))
    with_keys(settings, lambda store: store.revoke("old", at_s=1))
    with gateway.client(abuser.key) as http:
        job = http.post("/v1/jobs", json={"texts": "x", "delay_s": 3600}).headers["location"]
        assert http.get("/v1/score").status_code == 405, "it has made its document"
    with gateway.client(other.key) as http:
        other_job = http.post("/v1/jobs", json={"texts": "x"}).headers["location"]
        lines = {"Content-Type": "application/x-ndjson"}
        uploaded = http.post("/v1/batches", content=b'"x"\n', headers=lines)
    wrong = (
        revoked.key,
        f"sentq_{other.record.id}_{'x' * 43}",
        f"{other.key}x",
        "x" * 60_000,
        "",
    )
    return AbusedGateway(
        port=urlsplit(gateway.url).port or 0,
        key=f"Authorization: Bearer {abuser.key}",
        job=job,
        other_job=other_job,
        other_batch=uploaded.headers["location"],
        wrong_keys=(
            "",
            *(f"Authorization: Bearer {key}" for key in wrong),
            f"Authorization: Basic {other.key}",
            f"Authorization: {other.key}",
            f"Cookie: key={other.key}",
        ),
    )


def _found(abuse: Abuse, gateway: AbusedGateway) -> Callable[[], str]:
    """Return a call that does it, and returns the row of the table."""

    def run() -> str:
        replies = abuse.run(gateway)
        responses = ", ".join(dict.fromkeys(map(str, replies)))
        ends = [ENDS if reply.is_end else STAYS for reply in replies]
        connection = ", ".join(dict.fromkeys(ends))
        return f"| {abuse.what} | {responses} | {connection} |"

    return run


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.usefixtures("_many_files")
def test_each_abuse_gets_what_the_page_says_and_costs_no_other_client_anything(
    gateway: GatewayProcess, scored_redis: RedisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.load(broker_url=scored_redis.url_of("operator"))
    abused = _abused(gateway, settings)
    neighbour = _Neighbour(gateway, with_new_key(settings, "neighbour").key)
    neighbour.start()
    eventually(lambda: len(neighbour.took_s) > 20, what="ordinary requests")
    before_mib = max(neighbour.memory_mib)
    memory_mib: dict[str, float] = {}
    took_s: dict[str, float] = {}
    found: dict[str, str] = {}
    with ThreadPoolExecutor(8) as pool:
        slow = {each.what: pool.submit(_found(each, abused)) for each in ABUSES if each.is_slow}
        for each in ABUSES:
            if not each.is_slow:
                seen, started_s = len(neighbour.memory_mib), time.monotonic()
                found[each.what] = _found(each, abused)()
                took_s[each.what] = time.monotonic() - started_s
                memory_mib[each.what] = max(neighbour.memory_mib[max(0, seen - 1) :])
        found |= {what: row.result() for what, row in slow.items()}
    neighbour.stop()
    growth_mib = max(neighbour.memory_mib) - before_mib
    with capsys.disabled():
        for each in ABUSES:
            memory, took = memory_mib.get(each.what, 0), took_s.get(each.what, 0)
            sys.stdout.write(f"\n{found[each.what]} {memory:.0f} MiB, {took:.1f} s")
        sys.stdout.write(
            f"\n{len(neighbour.took_s)} other requests, the longest {max(neighbour.took_s):.2f} s; "
            f"{before_mib:.0f} MiB before, {growth_mib:.0f} MiB more at most\n"
        )
    assert [found[each.what] for each in ABUSES] == [each.row() for each in ABUSES]
    assert neighbour.statuses == {200}
    assert max(neighbour.took_s) < MOST_S
    assert growth_mib < MOST_GROWTH_MIB
    # Those too whose clients have left a request behind.
    streams = "GET /v1/jobs/{job_id}/events: 200"
    eventually(lambda: gateway.log.count(streams) == STREAMS + LEFT_STREAMS, what="ended streams")
    assert gateway.stop() == 0
    assert not PROBLEMS.search(gateway.log), PROBLEMS.findall(gateway.log)


def test_the_page_has_the_table() -> None:
    assert "\n".join(rows(ABUSES)) in PAGE.read_text(encoding="utf-8")
