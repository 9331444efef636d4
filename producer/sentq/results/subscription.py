"""Subscriptions on connections that are kept for the next ones.

redis-py closes the connection of a subscription that ends. So each wait for a job would open
another one: with TLS a handshake, and behind Sentinel a question which Redis is the master.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any, Final

import redis

from sentq.wire.steps import Deadline

__all__ = ["KeptSubscription", "Subscriptions"]

#: How long Redis may take to say that a subscription has ended, once its connection is wanted
#: again. A connection that is slower is closed.
_END_S: Final = 0.5

#: The reply to it is the last one of a subscription.
_END: Final = b"sentq-end-of-subscription"


class Subscriptions:
    """Opens subscriptions, each with a connection of its own, and keeps the connections of those
    that have ended. Thread-safe, and of use in a process that was forked.

    Args:
        pool: Where the connections are from. It closes them with its others.
    """

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool
        #: Redis' last replies on them are read when they are wanted again, so that the end of a
        #: wait takes no round trip.
        self._ending: deque[Any] = deque()

    def open(self) -> KeptSubscription:
        """Return a subscription to no channel yet."""
        return KeptSubscription(self, self._pool)

    def take(self) -> Any:
        """Return a connection that is kept and of use, or None."""
        while True:
            try:
                connection = self._ending.pop()
            except IndexError:
                return None
            is_own = connection.pid == os.getpid() and self._pool.owns_connection(connection)
            if is_own and _has_ended(connection):
                return connection
            connection.disconnect()
            self._pool.release(connection)

    def keep(self, connection: Any) -> bool:
        """End the subscription on a connection and keep it, if it is open; return whether it is."""
        if not connection.is_connected:
            return False
        # Without the methods of `PubSub`, which connect anew: Redis may be away.
        commands = connection.pack_commands([("UNSUBSCRIBE",), ("PING", _END)])
        try:
            connection.send_packed_command(commands, check_health=False)
        except (redis.RedisError, OSError):
            return False
        self._ending.append(connection)
        return True


class KeptSubscription(redis.client.PubSub):
    """Receives what is published in channels. Its connection is kept when it ends.

    Args:
        subscriptions: Keeps connections.
        pool: Where others are from.
    """

    def __init__(self, subscriptions: Subscriptions, pool: redis.ConnectionPool) -> None:
        super().__init__(pool, ignore_subscribe_messages=True)
        self._subscriptions = subscriptions

    def execute_command(self, *args: Any) -> Any:
        """Subscribe or unsubscribe; the first time on a kept connection, if there is one."""
        if self.connection is None:
            self.connection = self._subscriptions.take()
            if self.connection is not None:
                self.connection.register_connect_callback(self.on_connect)
        return super().execute_command(*args)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Receive nothing more."""
        connection = self.connection
        if connection is not None:
            # A connection that is opened again has no channels of this subscription.
            connection.deregister_connect_callback(self.on_connect)
            if self._subscriptions.keep(connection):
                self.connection = None
        super().close()


def _has_ended(connection: Any) -> bool:
    """Read what came for a subscription, up to its end; return whether that came."""
    end = Deadline(_END_S)
    try:
        while (left_s := end.remaining_s) and connection.can_read(timeout=left_s):
            if connection.read_response(push_request=True) == _END:
                # There is more to read if Redis has closed it since.
                return not connection.can_read(timeout=0)
    except (redis.RedisError, OSError):
        pass
    return False
