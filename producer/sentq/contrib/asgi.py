"""A middleware that spreads requests that arrive together, for any ASGI application on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from sentq.aio.turns import Turns

__all__ = ["PacedRequests"]

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_Application: TypeAlias = Callable[[_Message, _Receive, _Send], Awaitable[None]]


class PacedRequests:
    """Spreads requests that arrive together over turns of the event loop, in their order.

    What an application does for a request before it awaits something takes a fraction of a
    millisecond. Hundreds of requests that arrive together would keep all other tasks of the loop,
    such as health checks, waiting for as long as all of them take. Here at most 32 requests, or as
    many as the loop computes in 4 ms, begin in a turn; a request that arrives alone begins at once.

    Add it last, so that it is the outermost: `app.add_middleware(PacedRequests)`.

    Args:
        app: The application, or the next middleware.
    """

    def __init__(self, app: _Application) -> None:
        self._app = app
        self._turns: Turns | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Handle a request, a WebSocket, or the lifespan of the application."""
        if scope["type"] == "http":
            await self._turns_of_loop().begin()
        await self._app(scope, receive, send)

    def _turns_of_loop(self) -> Turns:
        # Tests may run each request in a loop of its own.
        loop = asyncio.get_running_loop()
        if self._turns is None or self._loop is not loop:
            self._turns, self._loop = Turns(), loop
        return self._turns
