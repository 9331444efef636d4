"""Redis and Sentinel with TLS, as processes of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import redis

from tests.support.processes import RedisProcess, eventually, free_port
from tests.support.tls.certificates import Authority, Certificate, redis_program_with_tls

__all__ = ["MASTER", "redis_with_tls", "sentinel_with_tls"]

#: The name that Sentinel gives its master.
MASTER: Final = "the-master"


@contextmanager
def redis_with_tls(
    folder: Path, authority: Authority, certificate: Certificate, *options: str
) -> Iterator[tuple[RedisProcess, int]]:
    """Run a Redis that also has a port with TLS, and yield both."""
    (folder / "redis").mkdir()
    port = free_port()
    words = ("--tls-port", str(port), *_files(authority, certificate), *options)
    server = RedisProcess(redis_program_with_tls(), folder / "redis", *words)
    try:
        server.start()
        yield server, port
    finally:
        server.stop()


@contextmanager
def sentinel_with_tls(
    folder: Path, authority: Authority, certificate: Certificate, *, master_port: int
) -> Iterator[tuple[redis.Redis, int]]:
    """Run a Sentinel that has reached a master with TLS; yield a connection without TLS to it, and
    its port with TLS."""
    plain, port = free_port(), free_port()
    configuration = folder / "sentinel.conf"
    configuration.write_text(
        f"dir {folder}\nbind 127.0.0.1\nsentinel monitor {MASTER} 127.0.0.1 {master_port} 1\n"
    )
    command = [
        *(str(redis_program_with_tls()), str(configuration), "--sentinel"),
        *("--port", str(plain), "--tls-port", str(port), "--tls-replication", "yes"),
        *(*_files(authority, certificate), "--tls-auth-clients", "no"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=plain) as client:
            eventually(lambda: _is_monitored(client), what="a Sentinel that reaches its master")
            yield client, port
    finally:
        process.terminate()
        process.wait(10)


def _files(authority: Authority, certificate: Certificate) -> tuple[str, ...]:
    return (
        *("--tls-cert-file", str(certificate.certificate)),
        *("--tls-key-file", str(certificate.key)),
        *("--tls-ca-cert-file", str(authority.file)),
    )


def _is_monitored(sentinel: redis.Redis) -> bool:
    with suppress(redis.ConnectionError):
        master: Any = sentinel.sentinel_master(MASTER)
        return "down" not in master["flags"]
    return False
