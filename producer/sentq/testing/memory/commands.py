"""The commands of an in-memory Redis: those that the steps of a client use, by their names.

The replies are those of redis-py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from redis.exceptions import ResponseError

from sentq.testing.memory.database import MemoryDatabase
from sentq.wire.steps import Command

__all__ = ["execute_command", "to_bytes"]

_Arguments: TypeAlias = Sequence[bytes]

#: No key is as long as this.
_MAX_KEY_BYTES: Final = 512


#: The key prefix of a client whose settings have one. The kit has no use for it.
_PREFIX: Final = re.compile(
    rb"\A\S{1,256}?(?=(?:celery-task-meta-\S+|sentq-(?:batch|sent)-\S*|sentq\.batches)\Z)"
)


def to_bytes(value: object) -> bytes:
    """Return an argument as redis-py sends it, a key of a job or a batch without a prefix."""
    argument = value if isinstance(value, bytes) else str(value).encode()
    return _PREFIX.sub(b"", argument, 1) if len(argument) < _MAX_KEY_BYTES else argument


def execute_command(database: MemoryDatabase, command: Command) -> Any:
    """Run a command, and return the reply of redis-py.

    Raises:
        redis.ResponseError: The command is unknown here.
    """
    name, *arguments = command
    run = _COMMANDS.get(str(name).upper())
    if run is None:
        raise ResponseError(f"unknown command: the test kit of sentq has no {name}")
    return run(database, [to_bytes(each) for each in arguments])


def _set(database: MemoryDatabase, arguments: _Arguments) -> bool | None:
    key, value, *options = arguments
    ex = float(options[options.index(b"EX") + 1]) if b"EX" in options else None
    return database.set(key, value, ex=ex, nx=b"NX" in options) or None


def _memory(database: MemoryDatabase, arguments: _Arguments) -> int | None:
    return database.list_bytes(arguments[1]) or None


def _xrange(database: MemoryDatabase, arguments: _Arguments) -> list[tuple[bytes, Any]]:
    key, first, last, *options = arguments
    return database.streams.between(key, first, last, int(options[1]) if options else None)


def _zadd(database: MemoryDatabase, arguments: _Arguments) -> int:
    key, *scores = arguments
    pairs = zip(scores[::2], scores[1::2], strict=True)
    return database.zadd(key, {member: float(score) for score, member in pairs})


_COMMANDS: Final[dict[str, Callable[[MemoryDatabase, _Arguments], Any]]] = {
    "DEL": lambda database, a: database.delete(*a),
    "EXISTS": lambda database, a: sum(map(database.exists, a)),
    "GET": lambda database, a: database.get(*a),
    "GETRANGE": lambda database, a: database.getrange(a[0], int(a[1]), int(a[2])),
    "HGET": lambda database, a: database.hget(*a),
    "HGETALL": lambda database, a: database.hgetall(*a),
    "HMGET": lambda database, a: [database.hget(a[0], field) for field in a[1:]],
    "LINDEX": lambda database, a: database.lindex(a[0], int(a[1])),
    "LLEN": lambda database, a: database.llen(*a),
    "LPUSH": lambda database, a: database.lpush(*a),
    "LRANGE": lambda database, a: database.lrange(a[0], int(a[1]), int(a[2])),
    "MEMORY": _memory,
    "MGET": lambda database, a: [database.get(key) for key in a],
    "PING": lambda _, __: True,
    "PUBLISH": lambda database, a: database.publish(*a),
    "SET": _set,
    "TIME": lambda database, _: database.time(),
    "XDEL": lambda database, a: database.streams.delete(*a),
    "XLEN": lambda database, a: database.streams.length(*a),
    "XRANGE": _xrange,
    "XTRIM": lambda database, a: database.streams.trim(a[0], a[-1]),
    "ZADD": _zadd,
    "ZCARD": lambda database, a: database.zcard(*a),
    "ZCOUNT": lambda database, a: database.zcount(*a),
    "ZSCORE": lambda database, a: database.zscore(*a),
}
