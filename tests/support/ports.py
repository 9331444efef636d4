"""TCP ports for the servers of tests, each given to one test process only.

A port that the kernel chooses is in the range of the ports of outgoing connections. While a test
has its server stopped, any client may get that port. A client that retries the port may even
connect to itself. So ports are taken from below that range.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

__all__ = ["free_port"]

#: Below the range of outgoing connections: Linux starts that at 32768, macOS at 49152.
_PORTS: Final = range(20_000, 30_000)

#: Open files, one for each port of this process. Their locks end with the process.
_reserved: list[int] = []


def _candidates() -> Iterator[int]:
    start = random.randrange(len(_PORTS))
    return chain(_PORTS[start:], _PORTS[:start])


def free_port() -> int:
    """Reserve a TCP port of the loopback interface for this process, until the process ends.

    Raises:
        RuntimeError: All ports are in use or reserved.
    """
    for port in _candidates():
        if _is_unused(port) and _reserve(port):
            return port
    raise RuntimeError(f"no free port from {_PORTS.start} to {_PORTS.stop - 1}")


def _is_unused(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections that were closed a moment ago do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _reserve(port: int) -> bool:
    folder = Path(tempfile.gettempdir()) / f"sentq-test-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    _reserved.append(lock)
    return True
