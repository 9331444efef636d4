"""Clients and workers keep their connections: jobs open no further one once some were scored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from sentq import AsyncClient, Client, Settings
from tests.support.processes import WorkerProcess
from tests.support.tls.certificates import Authority
from tests.support.tls.servers import MASTER, redis_with_tls, sentinel_with_tls

pytestmark = pytest.mark.slow

WAIT_S: Final = 30
JOBS: Final = 20
#: The first jobs open connections of the client, and a worker opens its last one after its start.
ROUNDS: Final = 3


@contextmanager
def _behind_sentinel_with_tls(
    folder: Path,
) -> Iterator[tuple[dict[str, Any], tuple[redis.Redis, redis.Redis]]]:
    """Run a master and a Sentinel; yield settings, and a connection without TLS to each."""
    authority = Authority(folder / "authority")
    shown = authority, authority.certificate("server")
    with (
        redis_with_tls(folder, *shown, "--tls-auth-clients", "no") as (master, master_port),
        sentinel_with_tls(folder, *shown, master_port=master_port) as (sentinel, port),
        master.client() as client,
    ):
        settings = {
            "broker_url": f"sentinel://127.0.0.1:{port}/0?ssl_cert_reqs=required",
            "transport_options": {"master_name": MASTER},
            "tls_ca_file": authority.file,
        }
        yield settings, (client, sentinel)


@contextmanager
def _worker(folder: Path, settings: dict[str, Any]) -> Iterator[None]:
    """Run a worker that is so slow that a client has to wait for each job."""
    environment = {
        f"SENTQ_{name.upper()}": json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in settings.items()
    }
    command = ("tests.support.workers.standin",)
    worker = WorkerProcess(folder, environment | {"STANDIN_DELAY_S": "0.05"}, command)
    try:
        worker.wait_until_ready()
        yield
    finally:
        assert worker.stop() == 0, worker.log


def _opened(servers: tuple[redis.Redis, redis.Redis]) -> list[int]:
    """Return how many connections each server has accepted."""
    counts: list[Any] = [server.info("stats") for server in servers]
    return [count["total_connections_received"] for count in counts]


def test_behind_sentinel_with_tls_no_job_opens_a_connection_after_the_first_ones(
    tmp_path: Path,
) -> None:
    with (
        _behind_sentinel_with_tls(tmp_path) as (settings, servers),
        _worker(tmp_path, settings),
        Client(Settings.load(**settings)) as client,
    ):

        def opened_by_jobs() -> list[int]:
            before = _opened(servers)
            for _ in range(JOBS):
                assert client.submit("text").result(timeout=WAIT_S).outcomes
            jobs = client.submit_many(["text"] * 3)
            assert len(list(client.as_completed(jobs, timeout=WAIT_S))) == 3
            return [now - then for now, then in zip(_opened(servers), before, strict=True)]

        assert [0, 0] in [opened_by_jobs() for _ in range(ROUNDS)]


def test_behind_sentinel_with_tls_the_client_for_asyncio_opens_none_either(tmp_path: Path) -> None:
    async def main(settings: dict[str, Any], servers: tuple[redis.Redis, redis.Redis]) -> None:
        async with AsyncClient(Settings.load(**settings)) as client:

            async def opened_by_jobs() -> list[int]:
                before = _opened(servers)
                for _ in range(JOBS):
                    job = await client.submit("text")
                    assert (await job.result(timeout=WAIT_S)).outcomes
                return [now - then for now, then in zip(_opened(servers), before, strict=True)]

            assert [0, 0] in [await opened_by_jobs() for _ in range(ROUNDS)]

    with (
        _behind_sentinel_with_tls(tmp_path) as (settings, servers),
        _worker(tmp_path, settings),
    ):
        asyncio.run(main(settings, servers))
