"""Make and revoke keys of gateways in tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sentq import Settings
from sentq.gateway.client import GatewayClient
from sentq.gateway.keys.records import KeyScope, NewKey, new_key
from sentq.gateway.keys.store import KeyStore

__all__ = ["with_keys", "with_new_key"]

T = TypeVar("T")


def with_keys(settings: Settings, call: Callable[[KeyStore], Awaitable[T]]) -> T:
    """Call something with the keys in a Redis; return what it returns."""

    async def run() -> T:
        async with GatewayClient(settings) as client:
            return await call(KeyStore(client))

    return asyncio.run(run())


def with_new_key(
    settings: Settings,
    name: str = "key",
    *scopes: str,
    requests_per_minute: int | None = None,
    texts_per_minute: int | None = None,
) -> NewKey:
    """Make a key and keep it; return both. Without scopes it may submit and read."""
    made = new_key(
        name,
        map(KeyScope, scopes or ("submit", "read")),
        created_s=int(time.time()),
        requests_per_minute=requests_per_minute,
        texts_per_minute=texts_per_minute,
    )
    with_keys(settings, lambda store: store.add(made.record))
    return made
