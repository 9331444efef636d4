"""Redis clients of kombu and Celery that go on at `maxmemory`, where that is permitted.

    with beyond_maxmemory():      this thread writes what it needs to start or to end a job
        kombu or Celery           MULTI ... EXEC ── refused ──▶ the same commands in one script

Elsewhere the refusal is raised as ever: an application's own task must not fill Redis further. The
scripts of kombu (bindings) and of Celery (chords) always go on: what they write is small.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import redis
from kombu.transport.redis import PrefixedRedisPipeline, PrefixedStrictRedis
from redis.client import Pipeline
from redis.exceptions import OutOfMemoryError

from sentq.wire.lua import load_script

__all__ = [
    "PrefixedRepeatingRedis",
    "RepeatingRedis",
    "beyond_maxmemory",
    "may_exceed_maxmemory",
]

_RUN: Final = load_script("sentq_worker.broker", "run_commands")

#: Put before a script of kombu's or Celery's. It removes nothing, and fails for a key that is not a
#: set. After it, as after any write that needs no memory, Redis refuses nothing for want of memory.
_GO_ON: Final = "redis.pcall('SREM', KEYS[1], '')\n"

#: These run scripts, and Redis runs no script in another one.
_SCRIPT_COMMANDS: Final = {"EVAL", "EVALSHA"}

#: A command as it is sent: its name, its key, and so on.
_Command = Sequence[Any]


class _Permission(threading.local):
    is_given = False


_PERMISSION: Final = _Permission()


@contextmanager
def beyond_maxmemory(*, is_permitted: bool = True) -> Iterator[None]:
    """Let this thread write, for the block, what Redis refuses at `maxmemory`; or do not."""
    before, _PERMISSION.is_given = _PERMISSION.is_given, is_permitted
    try:
        yield
    finally:
        _PERMISSION.is_given = before


def may_exceed_maxmemory() -> bool:
    """Return whether this thread may write what Redis refuses at `maxmemory`."""
    return _PERMISSION.is_given


class _RepeatingPipeline(Pipeline):
    """A pipeline whose commands are repeated in a script if Redis refuses them for want of
    memory."""

    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 - redis-py's
        """Run the commands, and return their replies."""
        commands = [command for command, _ in self.command_stack]
        may_repeat = _may_repeat(*commands) and not self.watching
        try:
            return list(super().execute(raise_on_error))
        except OutOfMemoryError:
            if not may_repeat:
                raise
        return _run(self, commands)


class _PrefixedRepeatingPipeline(PrefixedRedisPipeline, _RepeatingPipeline):
    """The same, with kombu's prefix of keys."""


class RepeatingRedis(redis.Redis):
    """A client whose commands are repeated in a script if Redis refuses them for want of memory,
    where that is permitted (`beyond_maxmemory`)."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        """Run a command, and return its reply."""
        try:
            return redis.Redis.execute_command(self, *command, **options)
        except OutOfMemoryError:
            if not _may_repeat(command):
                raise
        (reply,) = _run(self, [command])
        return reply

    def register_script(self, script: Any) -> Any:
        """Return a script that goes on at `maxmemory`. Its first key is that of what it writes."""
        return super().register_script(f"{_GO_ON}{script}")

    def pipeline(self, transaction: Any = True, shard_hint: Any = None) -> Pipeline:  # noqa: FBT002 - redis-py's
        """Return a pipeline whose commands are repeated likewise."""
        return _RepeatingPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )


class PrefixedRepeatingRedis(PrefixedStrictRedis):
    """The same, with kombu's prefix of keys."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        """Run a command, and return its reply."""
        try:
            return super().execute_command(*command, **options)
        except OutOfMemoryError:
            if not _may_repeat(command):
                raise
        (reply,) = _run(self, [self._prefix_args(command)])
        return reply

    def register_script(self, script: Any) -> Any:
        """Return a script that goes on at `maxmemory`. Its first key is that of what it writes."""
        return super().register_script(f"{_GO_ON}{script}")

    def pipeline(self, transaction: Any = True, shard_hint: Any = None) -> Pipeline:  # noqa: FBT002 - redis-py's
        """Return a pipeline whose commands are repeated likewise."""
        make: Any = _PrefixedRepeatingPipeline  # Kombu's classes have no types.
        pipeline: Pipeline = make(
            self.connection_pool,
            self.response_callbacks,
            transaction,
            shard_hint,
            global_keyprefix=self.global_keyprefix,
        )
        return pipeline


def _may_repeat(*commands: _Command) -> bool:
    return _PERMISSION.is_given and not any(name in _SCRIPT_COMMANDS for name, *_ in commands)


def _run(client: redis.Redis, commands: Sequence[_Command]) -> list[Any]:
    """Run commands in a script, and return their replies as redis-py does."""
    words = [word for command in commands for word in (len(command), *command)]
    # A client of its own: a pipeline would only add the command to its own ones.
    plain = redis.Redis(connection_pool=client.connection_pool)
    replies = _RUN.run(plain, [commands[0][1]], words)
    parsers = client.response_callbacks
    return [
        parsers[command[0]](reply) if reply is not None and command[0] in parsers else reply
        for command, reply in zip(commands, replies, strict=True)
    ]
