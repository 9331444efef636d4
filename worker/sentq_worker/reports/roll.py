"""Reading the state of a roll from Redis: before the first job, and with each report."""

from __future__ import annotations

import logging
from typing import Protocol

import redis

from sentq.wire.roll.state import ROLL_KEY, parse_roll
from sentq_worker.engine.provider import SupportsRoll

__all__ = ["RollPoller"]

logger = logging.getLogger(__name__)


class _PollingChannel(Protocol):
    """What reading uses of a channel."""

    def full_key(self, name: str) -> str: ...

    def own_client(self) -> redis.Redis: ...


class RollPoller:
    """Has the engine follow the state in Redis. It reads nothing if no model can be rolled.

    Args:
        engine: Loads the models, and scores with them.
    """

    def __init__(self, engine: SupportsRoll) -> None:
        self._engine = engine
        self._is_first = True
        self._unread: bytes | None = None

    def start(self, channel: _PollingChannel) -> None:
        """Load what serves before this worker takes its first job.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        if not self._is_first or self._engine.roll is None:
            return
        connection = channel.own_client()
        try:
            self.poll(connection, channel.full_key(""))
        finally:
            connection.connection_pool.disconnect()
        self._is_first = False

    def poll(self, connection: redis.Redis, prefix: str) -> None:
        """Read the state once.

        Args:
            connection: A connection that does not add the prefix to keys.
            prefix: The configured prefix of all keys.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        if self._engine.roll is None:
            return
        raw = connection.execute_command("GET", f"{prefix}{ROLL_KEY}")
        try:
            state = parse_roll(raw)
        except ValueError:
            if raw != self._unread:
                self._unread = raw
                logger.warning("the state of the roll in %s is not one of this version", ROLL_KEY)
            return
        self._engine.follow(state, waits=self._is_first)
