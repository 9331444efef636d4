"""Make connections of redis.asyncio, with the options that Celery's result backend has."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import redis
import redis.asyncio as aioredis
import redis.sentinel
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["BROKEN", "RedisServer"]

#: How a connection fails, beside errors of redis-py. Uvloop raises RuntimeError for a transport
#: that is closed already.
BROKEN: Final = (OSError, RuntimeError)

#: By what the class is that Celery chose, often one of its own: the class of redis.asyncio.
_CLASSES: Final[tuple[tuple[tuple[type, ...], type[AbstractConnection]], ...]] = (
    ((redis.sentinel.SentinelManagedConnection, redis.SSLConnection), SentinelManagedSSLConnection),
    ((redis.sentinel.SentinelManagedConnection,), SentinelManagedConnection),
    ((redis.SSLConnection,), aioredis.SSLConnection),
    ((redis.UnixDomainSocketConnection,), aioredis.UnixDomainSocketConnection),
)


class RedisServer:
    """The Redis of the results, for one event loop.

    Connections have no time-out of their own for replies: their owners have one.

    Args:
        app: The Celery app of the results.

    Attributes:
        pool: Makes the connections, and keeps none.
        timeout_s: How long Redis may take to reply, in seconds.
    """

    def __init__(self, app: Celery) -> None:
        self.timeout_s = float(app.conf.redis_socket_timeout)
        #: Of the connections: redis-py forgets that of a connection when a read is cancelled.
        self._transports: WeakKeyDictionary[AbstractConnection, asyncio.WriteTransport] = (
            WeakKeyDictionary()
        )
        self._sentinel: Sentinel | None = None
        options: dict[str, Any] = dict(app.backend.connparams)
        # In this version of the protocol replies and notices have one form, in every redis-py.
        options |= {"protocol": 2, "socket_timeout": None}
        options.pop("max_connections", None)
        chosen = options.get("connection_class", object)
        for kinds, own in _CLASSES:
            if all(issubclass(chosen, kind) for kind in kinds):
                options["connection_class"] = own
                break
        if "hosts" in options:
            self.pool = self._master_pool(app, options)
        else:
            self.pool = aioredis.ConnectionPool(**options)

    async def connect(self) -> AbstractConnection:
        """Return a new connection.

        Raises:
            redis.RedisError: Redis did not answer in time, or refused.
        """
        connection: AbstractConnection = self.pool.make_connection()
        try:
            async with asyncio.timeout(self.timeout_s):
                await connection.connect()
        except TimeoutError:
            raise redis.TimeoutError("Redis did not answer in time") from None
        except BROKEN as error:
            raise redis.ConnectionError(str(error)) from error
        writer = connection._writer  # noqa: SLF001
        if writer is None:
            raise redis.ConnectionError("the connection was lost while it was opened")
        self._transports[connection] = writer.transport
        return connection

    async def disconnect(self, connection: AbstractConnection, *, is_lost: bool) -> None:
        """Close a connection and its socket.

        With TLS both ends say that they close. This waits for a server that does not say so as long
        as redis-py does for a connection, and not at all if the connection is lost. Then the socket
        is closed all the same: it would stay open after the end of the event loop.
        """
        with suppress(redis.RedisError, *BROKEN):
            await connection.disconnect(nowait=is_lost)
        # Python 3.11.2, that of Debian 12, fails if the server has closed a connection with TLS.
        with suppress(AttributeError):
            self._transports.pop(connection).abort()

    async def aclose(self) -> None:
        """Close the connections to Sentinels."""
        if self._sentinel is not None:
            for each in self._sentinel.sentinels:
                await each.aclose()

    def _master_pool(self, app: Celery, options: dict[str, Any]) -> aioredis.ConnectionPool:
        hosts = options.pop("hosts")
        transport = app.conf.result_backend_transport_options
        self._sentinel = Sentinel(
            [(host["host"], host["port"]) for host in hosts],
            min_other_sentinels=transport.get("min_other_sentinels", 0),
            sentinel_kwargs=transport.get("sentinel_kwargs", {}),
            **options,
        )
        master: aioredis.Redis = self._sentinel.master_for(transport.get("master_name"))
        return master.connection_pool
