"""The client for asyncio: the same steps as the client that blocks, with a driver of its own.

    callers ── steps ──▶ driver ──┬─▶ `commands`: one connection, whose task sends all that waits
    of a loop                     └─▶ `notices`: one connection that subscribes for all who wait

Callers own no connection. So a caller that is cancelled leaves no reply behind for another one.
May import everything that `client` may.
"""

from sentq.aio.batch import AsyncBatch
from sentq.aio.client import AsyncClient
from sentq.aio.dead import AsyncDeadLetters
from sentq.aio.job import AsyncJob

__all__ = ["AsyncBatch", "AsyncClient", "AsyncDeadLetters", "AsyncJob"]
