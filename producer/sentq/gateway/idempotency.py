"""The header `Idempotency-Key`: a request that is repeated does nothing twice.

    sentq-gateway-request-<hash of the keys>   hash   the fingerprint of the request, the attempt
                                                      that runs, and the batch that it has made

The record tells whether a later request is the same one, and whether the first one still runs. That
a job is sent once is ensured by the client's own idempotency key (`sentq.sending.idempotency`), in
the step that sends it: also if a gateway dies before it can answer.

A fingerprint is keyed by the idempotency key. So Redis holds no plain hash of a text.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Final

from fastapi import Header

from sentq.errors import KeyConflict
from sentq.gateway.client import GatewayClient
from sentq.gateway.errors import MalformedRequest, RequestInProgress
from sentq.wire.functions import FUNCTIONS
from sentq.wire.steps import ScriptCall

__all__ = ["Attempt", "IdempotencyHeader", "attempt_of", "one_attempt"]

_BEGIN: Final = FUNCTIONS["begin_request"]
_END: Final = FUNCTIONS["end_request"]

#: The form of a key: visible characters, in quotes or without. The IETF draft has quotes.
_KEY: Final = re.compile(r"\"?([\x21\x23-\x7e]{1,255})\"?")

#: How long an attempt may take longer than the request says, until it counts as lost.
_MARGIN_S: Final = 15.0

IdempotencyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A key of the client's choice, 1 to 255 visible characters. Requests with the "
        "same key are one: what was accepted is not accepted again.",
        json_schema_extra={"pattern": "^[!#-~]{1,255}$"},
    ),
]


class Attempt:
    """One attempt of a request with an idempotency key.

    Args:
        client: Reads and writes the record.
        caller: The id of the caller's key.
        key: The idempotency key.
        operation: The operation, and those of its parameters that a repetition must have too.
    """

    def __init__(self, client: GatewayClient, caller: str, key: str, operation: str) -> None:
        self._client = client
        owner = f"{caller}\0{key}".encode()
        self._secret = b"sentq gateway request\0" + owner
        self._name = client.key(f"sentq-gateway-request-{hashlib.sha256(owner).hexdigest()[:32]}")
        self._operation = operation
        self._attempt = secrets.token_hex(8)
        self._fingerprint = ""
        #: The key of the client's jobs.
        self.job_key = f"gateway:{caller}:{key}"

    def digest(self, content: bytes) -> bytes:
        """Return a digest of a content of the request, which only this idempotency key gives."""
        return hmac.digest(self._secret, content, "sha256")

    async def begin(self, content: bytes, *, lasts_s: float, makes: str = "") -> str:
        """Begin the request; return what its first attempt has made.

        Args:
            content: What a repetition must have too.
            lasts_s: How long the attempt may take until it is renewed, in seconds.
            makes: What this attempt makes, if none has before.

        Raises:
            KeyConflict: The key was used for another request.
            RequestInProgress: Another attempt has not ended.
            ResultsUnavailable: Redis did not answer, or refused.
        """
        self._fingerprint = self.digest(f"{self._operation}\0".encode() + content).hex()
        return await self.renew(lasts_s=lasts_s, makes=makes)

    async def renew(self, *, lasts_s: float, makes: str = "") -> str:
        """Let the attempt go on for so many seconds more.

        Raises:
            RequestInProgress: It counted as lost, and another one has begun.
        """
        arguments = [
            self._fingerprint,
            self._attempt,
            round((lasts_s + _MARGIN_S) * 1000),
            self._client.kept_s,
            makes,
        ]
        match await self._client.ask(ScriptCall(_BEGIN, [self._name], arguments)):
            case [b"begun", bytes(made)]:
                return made.decode()
            case [b"in progress", int(left_ms)]:
                raise RequestInProgress(
                    "a request with this idempotency key has not ended",
                    retry_after_s=max(1, min(5, math.ceil(left_ms / 1000))),
                )
        raise KeyConflict("the idempotency key was used for another request")

    async def end(self) -> None:
        """Let the request be repeated.

        Raises:
            ResultsUnavailable: Redis did not answer, or refused.
        """
        await self._client.ask(ScriptCall(_END, [self._name], [self._attempt]))


def attempt_of(
    client: GatewayClient, caller: str, header: str | None, operation: str
) -> Attempt | None:
    """Return the attempt of a request; None if it has no idempotency key.

    Raises:
        MalformedRequest: The header has not the form of one.
    """
    if header is None:
        return None
    found = _KEY.fullmatch(header)
    if found is None:
        raise MalformedRequest("Idempotency-Key must be 1 to 255 visible characters of ASCII")
    return Attempt(client, caller, found[1], operation)


@asynccontextmanager
async def one_attempt(
    client: GatewayClient,
    caller: str,
    header: str | None,
    operation: str,
    *,
    content: Callable[[], bytes],
    lasts_s: float,
) -> AsyncIterator[str | None]:
    """Run the block as the only attempt of a request; yield the key of the client's job.

    Args:
        client: Reads and writes the record.
        caller: The id of the caller's key.
        header: The value of the header; None for none: then the block is not protected.
        operation: The operation.
        content: Returns what a repetition must have too.
        lasts_s: How long the block may take, in seconds.

    Raises:
        MalformedRequest: The header has not the form of one.
        KeyConflict, RequestInProgress, ResultsUnavailable: As `Attempt.begin` does.
    """
    attempt = attempt_of(client, caller, header, operation)
    if attempt is None:
        yield None
        return
    await attempt.begin(content(), lasts_s=lasts_s)
    try:
        yield attempt.job_key
    finally:
        await attempt.end()
