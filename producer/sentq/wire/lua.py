"""Lua scripts: `.lua` files that are run on Redis by their digest.

    <package>/scripts/push_jobs.lua ── includes ──▶ one text ── SHA-1 ──▶ EVALSHA

A line `-- include: NAME` stands for a library: `scripts/lib/NAME.lua` of the same package, or of
`sentq.wire`, or one that is generated. A library is included once, also if two others need it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import resources
from typing import Any, Final

import redis
from redis.exceptions import NoScriptError, OutOfMemoryError

from sentq.wire.states import result_states_lua
from sentq.wire.steps import Steps, run_steps

__all__ = ["Script", "execute", "load_script", "resolve_includes", "with_cause"]

#: Redis 6 names the cause inside the error of a script, without the code `OOM` before it.
_OUT_OF_MEMORY: Final = "OOM command not allowed"

_INCLUDE: Final = re.compile(r"^-- include: (\w+)\n", re.MULTILINE)

#: The package whose libraries the scripts of every package may include.
_SHARED_PACKAGE: Final = "sentq.wire"

_GENERATED: Final[dict[str, Callable[[], str]]] = {"result_states": result_states_lua}


class Script:
    """A Lua script that Redis runs by its digest, so that its text is sent once for a server.

    Args:
        text: The whole script.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(
        self,
        connection: redis.Redis,
        keys: Sequence[str | bytes],
        arguments: Iterable[object] = (),
    ) -> Any:
        """Run the script and return its reply.

        Args:
            connection: To Redis, also kombu's client: its prefix is not added to the keys.
            keys: The full names of the keys.
            arguments: As the header of the script says.

        Raises:
            redis.RedisError: Redis did not answer, or refused.
        """
        pool = connection.connection_pool
        return run_steps(self.steps(keys, arguments, pool), partial(execute, connection))

    def steps(
        self,
        keys: Sequence[str | bytes],
        arguments: Iterable[object],
        pool: object,  # noqa: ARG002 - for functions
    ) -> Steps[Any]:
        """Run the script in steps of one command each, and return its reply.

        Args:
            keys, arguments: As for `run`.
            pool: The connection pool by which the driver reaches Redis.
        """
        command = self.command(keys, arguments)
        try:
            return (yield command)
        except NoScriptError:
            # Redis has restarted, or another server took over. Nothing was run.
            yield self.load_command
            return (yield command)

    def command(
        self, keys: Sequence[str | bytes], arguments: Iterable[object]
    ) -> tuple[object, ...]:
        """Return the command that runs the script, for a connection that sends it by itself.

        Until it was sent `load_command`, Redis answers with NOSCRIPT and runs nothing.
        """
        return ("EVALSHA", self.digest, len(keys), *keys, *arguments)

    @property
    def load_command(self) -> tuple[str, str, str]:
        """The command that makes the script known to Redis."""
        return ("SCRIPT", "LOAD", self.text)


def load_script(package: str, name: str) -> Script:
    """Read the script `scripts/<name>.lua` of a package.

    Modules do so as they are imported: a script does not change while its process runs, and one
    that is missing is noticed at once.

    Raises:
        FileNotFoundError: There is no such script, or no library that it includes.
    """
    return Script(resolve_includes(_read(package, f"{name}.lua"), package))


def resolve_includes(text: str, package: str = _SHARED_PACKAGE) -> str:
    """Return a script of a package with its libraries in place of the lines that name them."""
    return _resolve(text, package, set())


def _resolve(text: str, package: str, included: set[str]) -> str:
    def library(match: re.Match[str]) -> str:
        name = match[1]
        if name in included:
            return ""
        included.add(name)
        if name in _GENERATED:
            return _GENERATED[name]()
        file = f"lib/{name}.lua"
        is_own = (resources.files(package) / "scripts" / file).is_file()
        return _resolve(_read(package if is_own else _SHARED_PACKAGE, file), package, included)

    return _INCLUDE.sub(library, text)


def _read(package: str, file: str) -> str:
    return (resources.files(package) / "scripts" / file).read_text(encoding="utf-8")


def execute(connection: redis.Redis, command: Iterable[object]) -> Any:
    """Run a command with full keys, also on kombu's client.

    Raises:
        OutOfMemoryError: Redis is at its maxmemory.
        redis.RedisError: Redis did not answer, or refused.
    """
    try:
        # The method of the base class: kombu's client overrides it, and adds its prefix to the
        # first key of EVALSHA (`GlobalKeyPrefixMixin`).
        return redis.Redis.execute_command(connection, *command)
    except redis.ResponseError as error:
        named = with_cause(error)
        if named is error:
            raise
        raise named from error


def with_cause(error: redis.ResponseError) -> redis.ResponseError:
    """Return an `OutOfMemoryError` for an error whose message names that cause, else the error."""
    if _OUT_OF_MEMORY in str(error) and not isinstance(error, OutOfMemoryError):
        return OutOfMemoryError(str(error))
    return error
