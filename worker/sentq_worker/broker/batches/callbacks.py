"""The callbacks of complete batches that no worker has published yet.

    count the last job  ->  sentq.batches  ->  publish: into its queue, and out of `sentq.batches`

Both are one script each. So a callback is published once, although workers may end between them,
and several workers may find it at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import redis

from sentq.connection.app import key_with_result_prefix
from sentq.wire.batches import BATCH_KEY_PREFIX, COMPLETE_BATCHES_KEY, is_batch_id
from sentq.wire.lua import load_script
from sentq_worker.broker.callbacks import CallbackMessage

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["CallbackRefused", "CallbackStore", "WaitingCallback"]

_PUBLISH: Final = load_script("sentq_worker.broker", "publish_callback")

#: What the script replies.
_PUBLISHED: Final = 1
_REFUSED: Final = -1

#: How many callbacks are published at a time.
_MOST_BATCHES: Final = 100

#: The most bytes of a stored callback. Clients store at most 64 KiB.
_MAX_BYTES: Final = 128 * 1024


class CallbackRefused(Exception):
    """Redis does not take the message of a callback. It is not tried again."""


class WaitingCallback(NamedTuple):
    """A callback to be published.

    Attributes:
        key: The key of its batch.
        batch_id: The id of the batch; "" if the key is that of something else.
        signature: The signature as JSON, as a sender wrote it; None if it cannot be read.
    """

    key: bytes
    batch_id: str
    signature: bytes | None


class CallbackStore:
    """The callbacks in the Redis of the results, which is that of the messages.

    Args:
        app: The app of the results.

    Raises, from each method:
        redis.RedisError: Redis did not answer.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app

    def waiting(self, client: redis.Redis) -> Iterator[WaitingCallback]:
        """Yield the callbacks that are to be published, the first ones first."""
        for key in cast("list[bytes]", client.zrange(self._key, 0, _MOST_BATCHES - 1)):
            batch_id = self._batch_id(key)
            signature = self._signature(client, key) if batch_id else None
            yield WaitingCallback(key, batch_id, signature)

    def publish(
        self, client: redis.Redis, waiting: WaitingCallback, message: CallbackMessage
    ) -> bool:
        """Publish a callback unless another worker has done so; return whether it was published.

        Args:
            client: The connection.
            waiting: The callback.
            message: Its message.

        Raises:
            CallbackRefused: Redis refused it, and it is not published.
        """
        reply = int(_PUBLISH.run(client, [waiting.key, self._key], message))
        if reply == _REFUSED:
            raise CallbackRefused("its queue is not a list, or this worker may not write there")
        return reply == _PUBLISHED

    def refuse(self, client: redis.Redis, waiting: WaitingCallback) -> None:
        """Record that a callback is not published."""
        if waiting.batch_id:
            _PUBLISH.run(client, [waiting.key, self._key], [])
        else:
            # The key of a forged entry may be one that this worker may not name to a script.
            client.zrem(self._key, waiting.key)

    def _batch_id(self, key: bytes) -> str:
        prefix = key_with_result_prefix(self._app, BATCH_KEY_PREFIX)
        batch_id = key.removeprefix(prefix).decode("ascii", "replace")
        return batch_id if key.startswith(prefix) and is_batch_id(batch_id) else ""

    def _signature(self, client: redis.Redis, key: bytes) -> bytes | None:
        try:
            found = cast("bytes | None", client.hget(key, "callback"))
        except redis.ResponseError:
            return None  # A sender wrote something else there.
        return found if found is not None and len(found) <= _MAX_BYTES else None

    @property
    def _key(self) -> bytes:
        return key_with_result_prefix(self._app, COMPLETE_BATCHES_KEY)
