"""The services of docker/compose.yaml with TLS, as podman-compose runs them."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.containers.machine import compose_program, hard_limits
from tests.support.processes import eventually
from tests.support.tls.certificates import Authority

__all__ = ["ComposeStack", "StackFailed", "service_of"]

_ROOT: Final = Path(__file__).parents[3]

#: Not that of the file, so that a stack of the user's on this machine is not touched.
_PROJECT: Final = "sentq-check"
_FILES: Final = ("compose.yaml", "compose.tls.yaml", "override.yaml")
_PROFILES: Final = ("gateway", "observability", "tools")


class StackFailed(Exception):
    """A command of podman-compose failed; the message has what it printed."""


class ComposeStack:
    """Runs the shipped files, from a copy with passwords and certificates of its own.

    Args:
        folder: An empty folder.
        environment: Variables of podman, and those of the compose files.
        workers: How many containers the service `worker` has.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], *, workers: int) -> None:
        self._environment = dict(environment)
        self._docker = folder / "docker"
        for name in ("docker", "configs"):
            shutil.copytree(_ROOT / name, folder / name, ignore=shutil.ignore_patterns("secrets"))
        document = yaml.safe_load((self._docker / "compose.yaml").read_text())
        self._write_secrets(document["secrets"], Authority(folder / "authority"))
        # Nothing else differs from the shipped files.
        changes: dict[str, dict[str, Any]] = {
            name: {"ulimits": hard_limits()} for name in document["services"]
        }
        changes["worker"]["scale"] = workers
        (self._docker / "override.yaml").write_text(yaml.safe_dump({"services": changes}))

    def compose(self, *arguments: str) -> str:
        """Run a command of podman-compose, and return what it printed.

        Raises:
            StackFailed: It failed.
        """
        files = [word for name in _FILES for word in ("-f", name)]
        profiles = [word for name in _PROFILES for word in ("--profile", name)]
        program = [str(compose_program()), "-p", _PROJECT, *files, *profiles]
        return self._run([*program, *arguments])

    def up(self, *services: str) -> None:
        """Start services, and what they depend on, from images that are there."""
        self.compose("up", "--detach", "--no-build", *services)

    def containers(self, *services: str) -> list[str]:
        """Return the names of the containers of services; without any, of all services."""
        found = self._podman("ps", "--all", "--format", "{{.Names}}", *_labelled()).split()
        return sorted(each for each in found if not services or service_of(each) in services)

    def state(self, container: str) -> dict[str, Any]:
        """Return what podman knows of a container's process."""
        text = self._podman("inspect", "--format", "{{json .State}}", container)
        state: dict[str, Any] = yaml.safe_load(text)
        return state

    def kill(self, container: str) -> None:
        """Send SIGKILL to its process, as the kernel does when memory runs out."""
        pid = eventually(lambda: self._pid(container), within_s=120, what=container)
        os.kill(pid, signal.SIGKILL)

    def await_healthy(self, *services: str, within_s: float = 180) -> None:
        """Wait until the health check of each container succeeds.

        It is run from here: podman needs systemd to run it by itself.
        """
        for container in self.containers(*services):
            eventually(partial(self._is_healthy, container), within_s=within_s, what=container)

    def logs(self, container: str, *, lines: int) -> str:
        """Return the last lines that a container has printed."""
        command = ["podman", "logs", "--tail", str(lines), container]
        done = subprocess.run(
            command,
            env=self._environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.stdout

    def remove(self) -> None:
        """Remove all containers and volumes of the stack, also those of a check that was killed."""
        self.compose("down", "--volumes", "--timeout", "0")

    def _is_healthy(self, container: str) -> bool:
        command = ["podman", "healthcheck", "run", container]
        done = subprocess.run(command, env=self._environment, check=False, capture_output=True)
        return done.returncode == 0

    def _pid(self, container: str) -> int:
        state = self.state(container)
        return int(state["Pid"]) if state["Running"] else 0

    def _podman(self, *arguments: str) -> str:
        return self._run(["podman", *arguments])

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self._docker,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise StackFailed(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _write_secrets(self, names: Iterable[str], authority: Authority) -> None:
        """Write what the first lines of the compose files ask for."""
        folder = self._docker / "secrets"
        folder.mkdir()
        for name in names:
            (folder / name).write_text(secrets.token_urlsafe(32))
        secret = base64.b64encode(secrets.token_bytes(32)).decode()
        (folder / "webhook-secrets").write_text(f"whsec_{secret}\n")
        (folder / "flower.py").write_text(f'basic_auth = ["operator:{secrets.token_hex()}"]\n')
        certificate = authority.certificate("redis", address="DNS:redis")
        shutil.copy(certificate.certificate, folder / "redis.pem")
        shutil.copy(certificate.key, folder / "redis-key.pem")
        shutil.copy(authority.file, folder / "redis-ca.pem")
        for file in folder.iterdir():
            file.chmod(0o644)  # Each container has a user of its own.


def _labelled() -> list[str]:
    return ["--filter", f"label=io.podman.compose.project={_PROJECT}"]


def service_of(container: str) -> str:
    """Return the service of `sentq-check_worker_2`, or of `sentq-check-worker-2`."""
    return container.removeprefix(_PROJECT)[1:-2]
