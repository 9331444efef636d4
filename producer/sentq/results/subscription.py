"""A subscription that gives its connection back open.

That of redis-py closes it, and so each wait for a job would open another one: with TLS a handshake,
and behind Sentinel a question which Redis is the master.
"""

from __future__ import annotations

from typing import Any, Final

import redis

from sentq.wire.steps import Deadline

__all__ = ["PooledSubscription"]

#: How long Redis may take to end a subscription. A connection that is slower is closed.
_END_S: Final = 0.5

#: The reply to it is the last one of a subscription.
_END: Final = b"sentq-end-of-subscription"


class PooledSubscription(redis.client.PubSub):
    """Receives what is published in channels, on a connection of a pool."""

    def close(self) -> None:
        """Unsubscribe, and give the connection back; close it if Redis does not reply in time."""
        connection = self.connection
        if connection is not None and _is_unsubscribed(connection):
            connection.deregister_connect_callback(self.on_connect)
            self.connection_pool.release(connection)
            self.connection = None
        super().close()


def _is_unsubscribed(connection: Any) -> bool:
    """Unsubscribe from all channels, and read what was sent before; return whether that was done.

    It does not connect anew, as the methods of `PubSub` do: Redis may be away.
    """
    if not connection.is_connected:
        return False
    commands = connection.pack_commands([("UNSUBSCRIBE",), ("PING", _END)])
    end = Deadline(_END_S)
    try:
        connection.send_packed_command(commands, check_health=False)
        while (left_s := end.remaining_s) and connection.can_read(timeout=left_s):
            if connection.read_response(push_request=True) == _END:
                return True
    except (redis.RedisError, OSError):
        pass
    return False
