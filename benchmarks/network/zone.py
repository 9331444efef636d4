"""A Redis with TLS behind Sentinel, with a worker and a client that are far from it.

        client ══ link ══ bridge: master, replica, Sentinel ══ link ══ worker

Each host has a network namespace of its own. Both links have the same latency and loss.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import redis

from tests.support.network.namespaces import Namespace, Network
from tests.support.ports import free_port
from tests.support.processes import LoggedProcess, RedisProcess, eventually
from tests.support.tls.certificates import Authority, redis_program_with_tls

__all__ = ["DOWN_AFTER_S", "Distance", "Zone", "found", "is_master"]

_MASTER: Final = "jobs"

#: How long a master does not reply until Sentinel makes the replica the master.
DOWN_AFTER_S: Final = 3.0

_SENTINEL: Final = """\
port 0
tls-port {port}
bind {address}
dir {folder}
protected-mode no
sentinel monitor {master} {address} {master_port} 1
sentinel down-after-milliseconds {master} {down_after_ms:.0f}
sentinel failover-timeout {master} 10000
"""


@dataclass(frozen=True, slots=True)
class Distance:
    """What is between a host and Redis.

    Attributes:
        round_trip_s: How long a packet and its answer take.
        loss: Which share of the packets gets lost, in each direction.
    """

    round_trip_s: float = 0.0
    loss: float = 0.0

    def __str__(self) -> str:
        """Return it as a row of a table says it."""
        lost = f", {self.loss:.0%} lost" if self.loss else ""
        return f"{self.round_trip_s * 1000:.0f} ms{lost}"


class Zone:
    """Master, replica, Sentinel, and the hosts of a worker and of a client. A context manager.

    Attributes:
        servers: Master and replica. Either may be the master later.
        variables: The settings of clients and workers.

    Args:
        folder: For data, certificates and logs.
        distance: What is between each host and Redis.

    Raises:
        NoNamespaces: This machine cannot have them.
    """

    def __init__(self, folder: Path, distance: Distance) -> None:
        self._folder = folder
        self._distance = distance
        self._number = 0
        self._stack = ExitStack()
        self.servers: list[RedisProcess] = []
        self.variables: dict[str, str] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            network = stack.enter_context(Network())
            self._tls = self._make_certificate(network.address)
            master_port = self._start_redis(stack, network.address)
            self._start_redis(
                stack, network.address, "--replicaof", network.address, str(master_port)
            )
            sentinel_port = self._start_sentinel(stack, network.address, master_port)
            self.variables = {
                "SENTQ_BROKER_URL": f"sentinel://{network.address}:{sentinel_port}/0"
                "?ssl_cert_reqs=required",
                "SENTQ_TRANSPORT_OPTIONS": json.dumps({"master_name": _MASTER}),
                "SENTQ_TLS_CA_FILE": str(self._folder / "tls" / "authority.pem"),
            }
            self._far_worker, self._far_client = (self._host(network) for _ in range(2))
            eventually(self._is_complete, within_s=60, what="a Sentinel that knows the replica")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def master(self) -> RedisProcess:
        """The server that is the master now."""
        return next(each for each in self.servers if each.process and is_master(each))

    def successes(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the documents of the jobs that were scored, by id."""
        names = list(ids)
        with self.master.client() as client:
            stored: Any = client.mget([f"celery-task-meta-{job_id}" for job_id in names])
        found = {
            job_id: json.loads(each) for job_id, each in zip(names, stored, strict=True) if each
        }
        return {job_id: each for job_id, each in found.items() if each["status"] == "SUCCESS"}

    @contextmanager
    def worker(
        self, command: Sequence[str], variables: Mapping[str, str], *, is_ready: bool = True
    ) -> Iterator[LoggedProcess]:
        """Run a worker on its host; `command` follows `python -m`.

        With `is_ready`, wait until it takes jobs.
        """
        with self._worker(self._far_worker.command(_python(command)), variables) as worker:
            yield _wait_until_ready(worker) if is_ready else worker

    @contextmanager
    def near_worker(self, command: Sequence[str]) -> Iterator[LoggedProcess]:
        """Run a worker beside Redis."""
        with self._worker(_python(command), {}) as worker:
            yield _wait_until_ready(worker)

    def start_sender(self, *words: str) -> subprocess.Popen[str]:
        """Start `benchmarks.network.sender` on the host of the client."""
        command = _python(["benchmarks.network.sender", *words])
        return subprocess.Popen(
            self._far_client.command(command),
            env=os.environ | self.variables,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, *words: str) -> dict[str, Any]:
        """Run `benchmarks.network.sender` on the host of the client, and return what it found."""
        return found(self.start_sender(*words))

    @contextmanager
    def _worker(
        self, command: Sequence[str], variables: Mapping[str, str]
    ) -> Iterator[LoggedProcess]:
        self._number += 1
        log_file = self._folder / f"worker-{self._number}.log"
        worker = LoggedProcess(command, self.variables | dict(variables), log_file)
        try:
            yield worker
        finally:
            worker.stop(within_s=60)

    def _host(self, network: Network) -> Namespace:
        return network.add_far(round_trip_s=self._distance.round_trip_s, loss=self._distance.loss)

    def _make_certificate(self, address: str) -> list[str]:
        authority = Authority(self._folder / "tls")
        server = authority.certificate("redis", address=f"IP:{address}")
        return [
            *("--tls-cert-file", str(server.certificate), "--tls-key-file", str(server.key)),
            *("--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", "no"),
            *("--tls-replication", "yes"),
        ]

    def _start_redis(self, stack: ExitStack, address: str, *options: str) -> int:
        """Start a Redis, with a port without TLS for this process alone, and return the other."""
        port = free_port()
        folder = self._folder / f"redis-{port}"
        folder.mkdir()
        server = RedisProcess(
            redis_program_with_tls(),
            folder,
            *("--bind", "127.0.0.1", address, "--protected-mode", "no"),
            *("--tls-port", str(port), "--repl-diskless-sync-delay", "0"),
            *self._tls,
            *options,
        )
        stack.callback(server.stop)
        self.servers.append(server.start())
        return port

    def _start_sentinel(self, stack: ExitStack, address: str, master_port: int) -> int:
        port = free_port()
        configuration = self._folder / "sentinel.conf"
        configuration.write_text(
            _SENTINEL.format(
                port=port,
                address=address,
                folder=self._folder,
                master=_MASTER,
                master_port=master_port,
                down_after_ms=DOWN_AFTER_S * 1000,
            )
        )
        command = [str(redis_program_with_tls()), str(configuration), "--sentinel", *self._tls]
        sentinel = LoggedProcess(command, {}, self._folder / "sentinel.log")
        stack.callback(sentinel.stop)
        self._sentinel = redis.Redis(
            host=address,
            port=port,
            ssl=True,
            ssl_ca_certs=str(self._folder / "tls" / "authority.pem"),
        )
        stack.callback(self._sentinel.close)
        return port

    def _is_complete(self) -> bool:
        """Return whether Sentinel knows a master and a replica that has its data."""
        try:
            state: Any = self._sentinel.sentinel_master(_MASTER)
            with self.servers[0].client() as client:
                return bool(state["num-slaves"] == 1 and client.wait(1, 100) == 1)
        except redis.ConnectionError:
            return False


def found(sender: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a sender, and return what it found.

    Raises:
        RuntimeError: It failed; its output says why.
    """
    printed, _ = sender.communicate()
    if sender.returncode != 0:
        raise RuntimeError(f"the sender exited with {sender.returncode}")
    result: dict[str, Any] = json.loads(printed)
    return result


def _python(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", *words]


def _wait_until_ready(worker: LoggedProcess) -> LoggedProcess:
    return worker.wait_until(lambda: "ready." in worker.log, within_s=150)


def is_master(server: RedisProcess) -> bool:
    """Return whether a server runs as a master."""
    try:
        with server.client() as client:
            return bool(client.role()[0] == b"master")
    except redis.ConnectionError:
        return False
