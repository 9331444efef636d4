"""The Celery app of Flower and `celery inspect`, which need no package of the worker.

    celery -A sentq.flower flower --port=5555

The app is made at its first use, because that reads the settings, and the import of a module must
not. A Flower that asks for no login listens on loopback only: its pages show who sends what, and
its buttons command workers.
"""

from __future__ import annotations

import ipaddress
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sentq.connection.app import make_app
from sentq.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["protect_flower"]

#: Flower's command, which Celery's command line has imported if Flower is installed.
_COMMAND: Final = "flower.command"

#: The option of Flower that lets it listen elsewhere without a login; in the environment with the
#: prefix `FLOWER_`.
_OVERRIDE: Final = "insecure_no_login"

_LOOPBACK: Final = "127.0.0.1"

_EX_USAGE: Final = 2


def __getattr__(name: str) -> Celery:
    if name == "celery":
        return _app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _app() -> Celery:
    protect_flower()
    return make_app(Settings.load(), set_as_current=True)


def protect_flower() -> None:
    """Let a Flower that this process is about to run listen on loopback, unless it asks for a
    login.

    Flower listens on all interfaces by default. With `--basic-auth` or `--auth` it still does.
    Without, it listens on loopback, and exits with status 2 if `--address` is another one, unless
    `--insecure_no_login` is given as well. Does nothing in a process that runs no Flower.
    """
    command: Any = sys.modules.get(_COMMAND)
    if command is None or hasattr(command.options, _OVERRIDE):
        return
    command.options.define(
        _OVERRIDE,
        default=False,
        type=bool,
        help="listen on any address without a login: who reaches it commands workers",
    )

    class ProtectedFlower(command.Flower):
        """Checks the options once all of their sources are read."""

        def __init__(self, options: Any, **kwargs: Any) -> None:
            _protect(options)
            super().__init__(options=options, **kwargs)

    command.Flower = ProtectedFlower


def _protect(options: Any) -> None:
    asks_for_login = options.basic_auth or options.auth
    if asks_for_login or options.unix_socket or getattr(options, _OVERRIDE):
        return
    options.address = options.address or _LOOPBACK
    if not _is_loopback(options.address):
        sys.stderr.write(
            f"sentq: Flower would listen on {options.address} without a login, and each program "
            "that reaches it could command workers: set --basic-auth=USER:PASSWORD or --auth, or "
            f"listen on {_LOOPBACK}, or give --{_OVERRIDE}\n"
        )
        raise SystemExit(_EX_USAGE)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
