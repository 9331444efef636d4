"""A real RabbitMQ for tests, with its own ports and folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final, Self

from tests.support.logs import register_log
from tests.support.missing import skip_without
from tests.support.ports import free_port
from tests.support.processes import eventually

__all__ = ["RabbitProcess"]

#: Debian's command on PATH is for its service's user; this one runs as any user.
_PROGRAM: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitProcess:
    """A RabbitMQ of one node. Skips the test on a machine that has none."""

    def __init__(self, folder: Path) -> None:
        if not _PROGRAM.exists() or shutil.which("epmd") is None:
            skip_without("rabbitmq-server", "not installed")
        folder.mkdir()
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self.log_file = register_log(folder / "rabbitmq.log")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._names_port = str(free_port())
        for name, content in (("plugins", "[]."), ("env.conf", "")):
            (folder / name).write_text(content)
        self._environment = {
            "HOME": str(folder),  # Erlang writes a cookie there.
            "ERL_EPMD_PORT": self._names_port,
            "RABBITMQ_NODENAME": f"sentq-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        }

    def start(self) -> Self:
        """Start the node, and wait until it accepts connections."""
        # Erlang's register of nodes: RabbitMQ would start one that outlives the test.
        self._run("epmd", "-port", self._names_port)
        self._run(str(_PROGRAM))
        eventually(self._accepts, within_s=90, what="a RabbitMQ")
        return self

    def stop(self) -> None:
        """End all of its processes. Its data is lost."""
        for process in reversed(self._processes):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        self._processes.clear()

    def _run(self, *command: str) -> None:
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                command,
                env=os.environ | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)

    def _accepts(self) -> bool:
        assert self._processes[-1].poll() is None, self.log_file.read_text(errors="replace")
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
