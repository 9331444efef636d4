"""The states of circuit breakers that a host's workers share, in Redis.

    sentq.breaker:<host>           hash     engine -> a `BreakerSnapshot` as JSON
    sentq.breaker:<host>:<engine>  string   set while a worker probes the engine

A worker that finds the Hub unavailable spares the other workers their calls. The state of a
worker's own local engine is written for operators only, and no worker adopts it: a healthy engine
stays in use although another process has lost its device.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Final, cast

import redis

from sentq_worker.providers.breaker import Breaker, BreakerSnapshot, BreakerState

__all__ = ["SharedBreakerState"]

logger = logging.getLogger(__name__)

_KEY: Final = "sentq.breaker:{host}"

#: Redis keeps the states of a host for so long after its last worker wrote one.
_TTL_S: Final = 7 * 24 * 60 * 60

#: A state that was read is read again after this time.
_FRESH_S: Final = 0.5


class SharedBreakerState:
    """Writes and reads the breaker states of one host.

    If Redis fails, the workers of the host do not share their states, and nothing else changes.

    Args:
        connect: Returns a Redis client. It may raise.
        host: The host whose workers share the states.
        prefix: The configured prefix of all keys.
    """

    def __init__(self, connect: Callable[[], redis.Redis], *, host: str, prefix: str = "") -> None:
        self._connect = connect
        self._key = prefix + _KEY.format(host=host)
        #: By engine: the time of the newest state that both sides have, and of the comparison.
        self._compared: dict[str, tuple[float, float]] = {}

    def exchange(self, breaker: Breaker) -> None:
        """Adopt the shared state of a breaker if it is newer, or else write the breaker's own.

        Does nothing if both were compared a moment ago and the breaker has not changed.
        """
        shared_at_s, compared_at = self._compared.get(breaker.name, (0.0, float("-inf")))
        is_news = breaker.snapshot.at_s > shared_at_s
        if not is_news and time.monotonic() - compared_at < _FRESH_S:
            return
        shared = self.read(breaker.name)
        if shared and shared.at_s > breaker.snapshot.at_s:
            breaker.adopt(shared)
        elif is_news:
            self.write(breaker.name, breaker.snapshot)
        self._compared[breaker.name] = (breaker.snapshot.at_s, time.monotonic())

    def write(self, engine: str, snapshot: BreakerSnapshot) -> None:
        """Write the state of an engine's breaker."""
        try:
            client = self._connect()
            client.hset(self._key, engine, json.dumps(asdict(snapshot)))
            client.expire(self._key, _TTL_S)
        except redis.RedisError as error:
            logger.debug("a breaker state was not written: %s", type(error).__name__)

    def forget(self, engine: str) -> None:
        """Delete the state of an engine that is no longer in use."""
        with contextlib.suppress(redis.RedisError):
            self._connect().hdel(self._key, engine)

    def read(self, engine: str) -> BreakerSnapshot | None:
        """Return the state that was last written for an engine; None if it cannot be read."""
        try:
            raw = cast("bytes | None", self._connect().hget(self._key, engine))
        except redis.RedisError as error:
            logger.debug("a breaker state was not read: %s", type(error).__name__)
            return None
        try:
            fields = json.loads(raw or b"")
            return BreakerSnapshot(**fields | {"state": BreakerState(fields["state"])})
        except (ValueError, TypeError, KeyError):
            return None

    def may_probe(self, engine: str, *, for_s: float) -> bool:
        """Return whether this worker of the host may probe an engine for the next seconds."""
        try:
            is_taken = self._connect().set(
                f"{self._key}:{engine}", "1", nx=True, px=max(1, int(for_s * 1000))
            )
        except redis.RedisError:
            return True  # Without Redis each worker probes for itself.
        return bool(is_taken)

    def end_probe(self, engine: str) -> None:
        """Record that this worker's probe is over, and its result written."""
        with contextlib.suppress(redis.RedisError):
            self._connect().delete(f"{self._key}:{engine}")
