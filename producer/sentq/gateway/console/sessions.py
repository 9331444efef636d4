"""Sessions of the console: a random token in a cookie, and in Redis the key that has logged in.

    sentq-gateway-session-<SHA-256 of the token>   string   the id of the key

So any gateway knows a session that another one has begun, and Redis holds no token.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from sentq.gateway.client import GatewayClient

__all__ = ["SESSION_S", "SessionStore", "form_token", "is_form_token", "new_token"]

#: For how long a session lasts after the login, in seconds.
SESSION_S: Final = 12 * 60 * 60

_TOKEN_BYTES: Final = 32


def new_token() -> str:
    """Return a new token of a session: 256 random bits."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def form_token(token: str) -> str:
    """Return what each form of a session holds. A page of another site cannot know it."""
    return hmac.new(token.encode(), b"sentq console form", hashlib.sha256).hexdigest()


def is_form_token(given: str, token: str) -> bool:
    """Return whether a form has the value of its session."""
    return hmac.compare_digest(given.encode(), form_token(token).encode())


class SessionStore:
    """The sessions in Redis.

    Args:
        client: Reads and writes them.

    Raises, from all methods:
        ResultsUnavailable: Redis did not answer, or refused.
    """

    def __init__(self, client: GatewayClient) -> None:
        self._client = client

    async def begin(self, key_id: str) -> str:
        """Begin a session of a key, and return its token."""
        token = new_token()
        await self._run("SET", token, key_id, "EX", SESSION_S)
        return token

    async def find(self, token: str) -> str | None:
        """Return the id of the key of a session; None if there is no such session."""
        found = await self._run("GET", token)
        return found.decode() if isinstance(found, bytes) else None

    async def end(self, token: str) -> None:
        """End a session."""
        await self._run("EXPIRE", token, 0)

    async def _run(self, command: str, token: str, *arguments: object) -> object:
        digest = hashlib.sha256(token.encode()).hexdigest()
        key = self._client.key(f"sentq-gateway-session-{digest}")
        found: object = await self._client.ask((command, key, *arguments))
        return found
