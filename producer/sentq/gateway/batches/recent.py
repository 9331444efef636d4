"""The batches that were uploaded last, for people who look at them.

sentq-gateway-recent             list   the ids of the last 50, the latest first
sentq-gateway-recent:<key id>    list   the same for one key
"""

from __future__ import annotations

from typing import Final

from sentq.gateway.client import GatewayClient
from sentq.wire.steps import Command, RoundTrip

__all__ = ["last_batches", "record_recent_batch"]

_KEY: Final = "sentq-gateway-recent"
_KEPT: Final = 50


async def record_recent_batch(client: GatewayClient, batch_id: str, owner: str) -> None:
    """Record that a batch is uploaded.

    Args:
        client: Writes it.
        batch_id: The batch.
        owner: The id of the key that uploads it; empty for an open gateway.

    Raises:
        ResultsUnavailable: Redis did not answer, or refused.
    """
    keys = [client.key(_KEY)] + ([client.key(f"{_KEY}:{owner}")] if owner else [])
    commands: list[Command] = []
    for key in keys:
        commands += [
            ("LPUSH", key, batch_id),
            ("LTRIM", key, 0, _KEPT - 1),
            ("EXPIRE", key, client.kept_s),
        ]
    await client.ask(RoundTrip(commands))


async def last_batches(client: GatewayClient, owner: str | None, count: int) -> list[str]:
    """Return the ids of the batches that were uploaded last, the latest first. One that was
    continued is in it once.

    Args:
        client: Reads them.
        owner: The id of the key that has uploaded them; None for those of all keys.
        count: Most ids.

    Raises:
        ResultsUnavailable: Redis did not answer, or refused.
    """
    key = client.key(_KEY if owner is None else f"{_KEY}:{owner}")
    found: list[bytes] = await client.ask(("LRANGE", key, 0, _KEPT - 1))
    ids = dict.fromkeys(each.decode() for each in found)
    return list(ids)[:count]
