"""A gateway on this machine, for the time of a block."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from sentq.dev.processes import last_lines, start_module, stop
from sentq.errors import SentqError
from sentq.settings import Settings

__all__ = ["GatewayDidNotStart", "local_gateway"]

_READY_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 10.0

#: What the command prints as soon as it listens.
_LISTENS: Final = re.compile(r"gateway: (http://\S+)")


class GatewayDidNotStart(SentqError):
    """The gateway ended, or did not listen in time. Its log has the reason."""


@contextmanager
def local_gateway(settings: Settings, folder: Path, *, port: int) -> Iterator[str]:
    """Start a gateway of a Redis for the block; yield its address, without a path.

    Args:
        settings: The Redis, with messages and results in one database.
        folder: The folder for the log, `gateway.log`.
        port: The port on loopback; 0 chooses a free one.

    Raises:
        GatewayDidNotStart: The message says what to do.
    """
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise GatewayDidNotStart('the gateway is not installed here: pip install "sentq[gateway]"')
    url = settings.broker_url.get_secret_value()
    log = folder / "gateway.log"
    environment = {"SENTQ_BROKER_URL": url, "SENTQ_RESULT_URL": url, "COLUMNS": "200"}
    process = start_module(
        "sentq.cli", "gateway", "--port", str(port), log=log, environment=os.environ | environment
    )
    try:
        yield _address(process, log)
    finally:
        stop(process, within_s=_STOP_TIMEOUT_S)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while True:
        if found := _LISTENS.search(log.read_text(errors="replace")):
            return found[1]
        if process.poll() is not None or time.monotonic() > deadline:
            raise GatewayDidNotStart(f"the gateway did not start ({log}): {last_lines(log)}")
        time.sleep(0.05)
