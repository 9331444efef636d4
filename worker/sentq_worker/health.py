"""`sentq-worker health`: asks the worker in this container, or on this machine, whether it lives.

A container runtime runs it every minute, so it imports neither torch nor Celery, nor the settings:
it reads the two settings that it needs itself.
"""

from __future__ import annotations

import http.client
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["main"]

_HELP: Final = """Usage: sentq-worker health [--ready] [--port PORT] [--host HOST] [--config FILE]

Ask the worker of this container, or of this machine, whether it lives: the health check of
containers. The worker needs a port: SENTQ_WORKER_METRICS_PORT, or metrics_port in the table
[worker] of the file that --config or SENTQ_CONFIG names.

Options:
  --ready        Ask whether it takes jobs (/readyz) instead of whether it lives (/livez).
  --port PORT    The port (default: that of the settings).
  --host HOST    The address (default: that of the settings; loopback for one that is open to all).
  --config FILE  TOML file with settings.
  -h, --help     Show this message and exit.

Examples:
  sentq-worker health
  sentq-worker health --ready --port 9464

Exit codes:
  0  yes
  1  no, or there is no answer
  2  a wrong option or setting
"""

#: A worker whose engine computes answers within milliseconds, or later if all cores are busy.
_TIMEOUT_S: Final = 5.0

_EX_NO: Final = 1
_EX_USAGE: Final = 2

_VALUES: Final = ("--port", "--host", "--config")

#: Addresses that stand for all: a client needs one.
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class _Usage(Exception):
    """A wrong option or setting; the message says which."""


def main(arguments: Sequence[str]) -> int:
    """Ask, print what the worker says, and return the exit code."""
    try:
        options = _parse(arguments)
        if options is None:
            sys.stdout.write(_HELP)
            return 0
        host, port = _address(options)
    except _Usage as error:
        sys.stderr.write(f"sentq-worker health: {error}\n")
        return _EX_USAGE
    return _ask(host, port, "/readyz" if "--ready" in options else "/livez")


def _parse(arguments: Sequence[str]) -> dict[str, str] | None:
    """Return the options that are given; None if help is wanted."""
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name in ("-h", "--help"):
            return None
        if name == "--ready" and not equals:
            options[name] = ""
        elif name in _VALUES:
            if not equals and not rest:
                raise _Usage(f"{name} needs a value")
            options[name] = value if equals else rest.pop(0)
        else:
            raise _Usage(f"no such option: {name}. See sentq-worker health --help")
    return options


def _address(options: Mapping[str, str]) -> tuple[str, int]:
    file = options.get("--config") or os.environ.get("SENTQ_CONFIG")
    in_file = _worker_table(file) if file else {}
    port = (
        options.get("--port")
        or os.environ.get("SENTQ_WORKER_METRICS_PORT")
        or in_file.get("metrics_port")
    )
    if port is None:
        raise _Usage("the worker has no port: set SENTQ_WORKER_METRICS_PORT")
    try:
        number = int(str(port))
    except ValueError:
        number = -1
    if not 0 < number < 1 << 16:
        raise _Usage(f"not a port: {port}")
    host = (
        options.get("--host")
        or os.environ.get("SENTQ_WORKER_METRICS_HOST")
        or str(in_file.get("metrics_host", "127.0.0.1"))
    )
    return _LOOPBACK.get(host, host), number


def _worker_table(file: str) -> Mapping[str, object]:
    try:
        with open(file, "rb") as stream:  # noqa: PTH123 - pathlib takes longer to import than this
            table = tomllib.load(stream).get("worker", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise _Usage(f"{file}: {error}") from None
    return table if isinstance(table, dict) else {}


def _ask(host: str, port: int, path: str) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        said = reply.read().decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        said = f"no answer from port {port} of {host}: {str(error) or type(error).__name__}"
        sys.stderr.write(f"{said}\n")
        return _EX_NO
    finally:
        connection.close()
    is_good = reply.status == http.client.OK
    (sys.stdout if is_good else sys.stderr).write(f"{said}\n")
    return 0 if is_good else _EX_NO
