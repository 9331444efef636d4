"""What a host's workers know of the engines that they share, in Redis.

    sentq.breaker:<host>           hash     engine -> its verdict as JSON
    sentq.breaker:<host>:<engine>  string   somebody probes it

One worker that finds the Hub out of order spares the others their calls. Of a worker's own local
engine the verdict is there to be seen, and nobody's to adopt: a healthy engine is not left alone
because another process has lost its device.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import redis as redis_errors

from sentq_worker.providers.breaker import Breaker, BreakerSnapshot, BreakerState

if TYPE_CHECKING:
    import redis

__all__ = ["SharedBreakerState"]

logger = logging.getLogger(__name__)

_KEY: Final = "sentq.breaker:{host}"

#: A host whose workers are gone is forgotten.
_KEPT_S: Final = 7 * 24 * 60 * 60

#: How old what was read may be before it is read again.
_FRESH_S: Final = 0.5


class SharedBreakerState:
    """Writes and reads verdicts of one host. Redis being away only keeps them from each other.

    Args:
        connect: Gives a Redis client, and may fail.
        host: Whose workers share them.
        prefix: Of all keys, where one is configured.
    """

    def __init__(self, connect: Callable[[], redis.Redis], *, host: str, prefix: str = "") -> None:
        self._connect: Callable[[], Any] = connect
        self._key = prefix + _KEY.format(host=host)
        #: By engine: the time of the newest verdict that both sides know, and when they compared.
        self._known: dict[str, tuple[float, float]] = {}

    def exchange(self, breaker: Breaker) -> None:
        """Tell a breaker what another worker found out, or the others what it did; whichever is
        newer. Nothing where both were just compared and nothing changed."""
        known_at_s, read_at = self._known.get(breaker.name, (0.0, float("-inf")))
        is_news = breaker.snapshot.at_s > known_at_s
        if not is_news and time.monotonic() - read_at < _FRESH_S:
            return
        theirs = self.read(breaker.name)
        if theirs and theirs.at_s > breaker.snapshot.at_s:
            breaker.adopt(theirs)
        elif is_news:
            self.write(breaker.name, breaker.snapshot)
        self._known[breaker.name] = (breaker.snapshot.at_s, time.monotonic())

    def write(self, engine: str, snapshot: BreakerSnapshot) -> None:
        """Let the others know."""
        try:
            client = self._connect()
            client.hset(self._key, engine, json.dumps(asdict(snapshot)))
            client.expire(self._key, _KEPT_S)
        except redis_errors.RedisError as error:
            logger.debug("a verdict was not written: %s", type(error).__name__)

    def forget(self, engine: str) -> None:
        """Nobody asks this engine any more."""
        with contextlib.suppress(redis_errors.RedisError):
            self._connect().hdel(self._key, engine)

    def read(self, engine: str) -> BreakerSnapshot | None:
        """What was last written of an engine; None where that cannot be had."""
        try:
            raw = self._connect().hget(self._key, engine)
        except redis_errors.RedisError as error:
            logger.debug("a verdict was not read: %s", type(error).__name__)
            return None
        try:
            fields = json.loads(raw or b"")
            return BreakerSnapshot(**fields | {"state": BreakerState(fields["state"])})
        except (ValueError, TypeError, KeyError):
            return None

    def may_probe(self, engine: str, *, for_s: float) -> bool:
        """Whether this worker is the one of the host that probes for the next seconds."""
        try:
            taken = self._connect().set(
                f"{self._key}:{engine}", "1", nx=True, px=max(1, int(for_s * 1000))
            )
        except redis_errors.RedisError:
            return True  # Alone, as far as anybody can tell.
        return bool(taken)

    def end_probe(self, engine: str) -> None:
        """This worker, who probed, has said what it found."""
        with contextlib.suppress(redis_errors.RedisError):
            self._connect().delete(f"{self._key}:{engine}")
