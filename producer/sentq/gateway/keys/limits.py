"""What a key may send in a minute: two buckets of tokens in Redis, exact across all gateways.

    sentq-gateway-limit-<key id>:requests   hash   the tokens there were, and when
    sentq-gateway-limit-<key id>:texts      hash   the same

A bucket holds as many tokens as the limit, and as many come in a minute. A request takes one; a
text takes one for each thousand characters that it has begun, so that long texts count for more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from sentq.gateway.client import GatewayClient
from sentq.gateway.errors import RateLimited
from sentq.gateway.keys.records import KeyRecord
from sentq.wire.functions import FUNCTIONS
from sentq.wire.steps import ScriptCall

__all__ = ["CHARS_PER_TOKEN", "RateLimits", "tokens_of"]

#: How many characters of a text one token stands for.
CHARS_PER_TOKEN: Final = 1000

_TAKE: Final = FUNCTIONS["take_tokens"]


class _Taken(NamedTuple):
    """The reply of the script.

    Attributes:
        is_taken: Whether there were enough tokens.
        left: How many there are now.
        wait_ms: How long until the bucket is full, or has enough.
    """

    is_taken: int
    left: int
    wait_ms: int


def tokens_of(texts: Iterable[str]) -> int:
    """Return how many tokens texts take."""
    return sum(max(1, math.ceil(len(text) / CHARS_PER_TOKEN)) for text in texts)


class RateLimits:
    """The limits of one key.

    Args:
        client: Reads and writes the buckets.
        record: The key.

    Attributes:
        headers: What a response tells of the limits, after each call (IETF draft
            `ratelimit-headers`).
    """

    def __init__(self, client: GatewayClient, record: KeyRecord) -> None:
        self._client = client
        self._id = record.id
        self._limits = {
            "requests": record.requests_per_minute,
            "texts": record.texts_per_minute,
        }
        self.headers: dict[str, str] = {}

    async def take_request(self) -> None:
        """Count a request.

        Raises:
            RateLimited: There were too many.
        """
        await self._take("requests", 1)

    async def take_texts(self, texts: Iterable[str]) -> None:
        """Count texts.

        Raises:
            RateLimited: There were too many. None of these was counted.
        """
        if self._limits["texts"] is not None:
            await self._take("texts", tokens_of(texts))

    async def texts_wait_s(self, tokens: int) -> float:
        """Count so many tokens of texts if there are enough; return how many seconds it takes until
        there are, 0 if they were counted."""
        limit = self._limits["texts"]
        if limit is None:
            return 0.0
        taken = await self._run("texts", limit, tokens)
        return 0.0 if taken.is_taken else taken.wait_ms / 1000

    async def _take(self, what: str, tokens: int) -> None:
        limit = self._limits[what]
        if limit is None:
            return
        taken = await self._run(what, limit, tokens)
        wait_s = max(1, math.ceil(taken.wait_ms / 1000))
        self.headers["RateLimit-Policy"] = _joined(
            self.headers.get("RateLimit-Policy"), f'"{what}";q={limit};w=60'
        )
        self.headers["RateLimit"] = _joined(
            self.headers.get("RateLimit"), f'"{what}";r={taken.left};t={wait_s}'
        )
        if not taken.is_taken:
            raise RateLimited(
                f"the key may send {limit:,} {what} in a minute, and has done so",
                retry_after_s=wait_s,
                headers=self.headers,
            )

    async def _run(self, what: str, limit: int, tokens: int) -> _Taken:
        key = self._client.key(f"sentq-gateway-limit-{self._id}:{what}")
        return _Taken(*await self._client.ask(ScriptCall(_TAKE, [key], [limit, tokens])))


def _joined(before: str | None, added: str) -> str:
    return added if before is None else f"{before}, {added}"
