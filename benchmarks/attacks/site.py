"""A Redis and one worker of a checkout, as an attack finds them."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from benchmarks.attacks.checkout import Checkout
from benchmarks.attacks.probes import score_texts
from sentq.dev.embedded import find_redis_server
from sentq_worker.testing.hub import LocalHub
from tests.support.processes import RedisProcess

__all__ = ["AttackSite", "NoRedisWithSelectors", "run_attack_site"]

_START_LIMIT_S: Final = 120

#: How long a worker may take to stop before it is killed.
_STOP_LIMIT_S: Final = 5

#: What a worker of each kind has scored before an attack, so that its memory has its usual size.
_PROSE: Final = "The room was clean and quiet, and breakfast was good. "
_WARM_UP: Final = [[_PROSE], [_PROSE * 1000], [f"{_PROSE}{number}" for number in range(100)]]

#: The harness itself has all rights, without a password.
_DEFAULT_USER: Final = "user default on nopass ~* &* +@all\n"


class NoRedisWithSelectors(RuntimeError):
    """There is no server of Redis 7 or later, or Valkey, for `configs/users.acl`."""


@dataclass(frozen=True)
class AttackSite:
    """The running service.

    Attributes:
        checkout: Its version.
        server: Its Redis.
        redis: A connection with all rights.
        worker: Its worker.
        log: The worker's log.
        hub: The fake Hub that the worker may use, None without one.
    """

    checkout: Checkout
    server: RedisProcess
    redis: redis.Redis
    worker: subprocess.Popen[bytes]
    log: Path
    hub: LocalHub | None = None

    def url_of(self, user: str) -> str:
        """Return the URL for a user of users.acl; "" is a user with all rights."""
        login = f"{user}:{user}-secret@" if user else ""
        return f"redis://{login}127.0.0.1:{self.server.port}/0"

    @property
    def state(self) -> str:
        """Whether the worker runs, else its exit status."""
        code = self.worker.poll()
        return "runs" if code is None else f"exit {code}"

    def reset_peak_memory(self) -> float:
        """Let the kernel forget the worker's peak memory; return its memory now, in MiB."""
        Path(f"/proc/{self.worker.pid}/clear_refs").write_text("5")
        return self._memory_mib("VmRSS") or 0.0

    @property
    def peak_memory_mib(self) -> float | None:
        """The worker's largest memory since the reset; None if it has ended."""
        return self._memory_mib("VmHWM")

    def cpu_s(self) -> float:
        """Return the processor time that the worker has used, in seconds."""
        fields = Path(f"/proc/{self.worker.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def _memory_mib(self, name: str) -> float | None:
        try:
            status = Path(f"/proc/{self.worker.pid}/status").read_text()
        except OSError:
            return None
        found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) / 1024 if found else None


@contextmanager
def run_attack_site(
    checkout: Checkout,
    folder: Path,
    *,
    bundled_model: bool = False,
    with_users: bool = False,
    with_hub: bool = False,
    redis_options: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[AttackSite]:
    """Run the service for the block, warmed up.

    Args:
        checkout: The version.
        folder: An empty folder for files and logs.
        bundled_model: Whether the worker has the bundled model, or the stand-in.
        with_users: Whether Redis has the users of the checkout's `users.acl`; the worker is one
            of them.
        with_hub: Whether the worker may use a fake Hub.
        redis_options: Options of the server.
        variables: Settings of the worker, of this version or another one.

    Raises:
        NoRedisWithSelectors: `with_users`, and there is no server for it.
    """
    program = _redis_with_selectors() if with_users else find_redis_server()
    users = _users(checkout, folder) if with_users else ()
    options = [*_slow_log_options(checkout), *redis_options, *users]
    with ExitStack() as stack:
        hub = stack.enter_context(LocalHub()) if with_hub else None
        server = RedisProcess(program, folder, "--appendonly", "no", *options).start()
        stack.callback(server.kill)
        login = "worker:worker-secret@" if with_users else ""
        wanted = {
            "SENTQ_BROKER_URL": f"redis://{login}127.0.0.1:{server.port}/0",
            "SENTQ_WORKER_THREADS": "1",
            "SENTQ_WORKER_DEVICE": "cpu",
            **(_hub_variables(hub) if hub else {}),
            **(variables or {}),
        }
        log = folder / "worker.log"
        known = checkout.known(wanted)
        worker = checkout.start_worker(log, bundled_model=bundled_model, **known)
        stack.callback(_stop, worker)
        _wait_until_ready(worker, log)
        connection = stack.enter_context(redis.Redis(port=server.port, socket_timeout=5))
        for texts in _WARM_UP:
            score_texts(connection, texts, within_s=_START_LIMIT_S)
        yield AttackSite(checkout, server, connection, worker, log, hub)


def _hub_variables(hub: LocalHub) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "hf_fake",
        "SENTQ_WORKER_HUB_MODEL": "fake/model",
        "SENTQ_WORKER_HUB_ROUTER": f"{hub.url}/hf-inference",
        "SENTQ_WORKER_HUB_BACKLOG_LIMIT_S": "60",
        # The present name, and that of older versions.
        "SENTQ_WORKER_PROVIDER": "prefer-local",
        "SENTQ_WORKER_ENGINE": "prefer-local",
    }


def _wait_until_ready(worker: subprocess.Popen[bytes], log: Path) -> None:
    end_at = time.monotonic() + _START_LIMIT_S
    while "ready." not in log.read_text(errors="replace"):
        if worker.poll() is not None or time.monotonic() > end_at:
            raise RuntimeError(f"no worker: {log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _redis_with_selectors() -> Path:
    for name in ("redis-server", "valkey-server"):
        program = shutil.which(name)
        if program is None:
            continue
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        if (version := re.search(r"v=(\d+)", told.stdout)) and int(version[1]) >= 7:
            return Path(program)
    raise NoRedisWithSelectors("users.acl needs Redis 7 or later, or Valkey")


def _slow_log_options(checkout: Checkout) -> list[str]:
    """Return what the checkout's redis.conf says about the slow log, as options of the server."""
    lines = (checkout.folder / "configs" / "redis.conf").read_text().splitlines()
    words = [line.split() for line in lines if line.startswith("slowlog-")]
    return [word for name, *values in words for word in (f"--{name}", *values)]


def _users(checkout: Checkout, folder: Path) -> tuple[str, str]:
    """Return options for the checkout's users; the password of each is its name and "-secret"."""
    lines = (checkout.folder / "configs" / "users.acl").read_text().splitlines()
    users = [line for line in lines if line.startswith("user ") and "default" not in line.split()]
    text = re.sub(r">REPLACE-the-(\w+)-password", r">\1-secret", "\n".join(users))
    file = folder / "users.acl"
    file.write_text(f"{_DEFAULT_USER}{text}\n")
    return "--aclfile", str(file)
