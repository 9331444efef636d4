"""`AsyncClient` with the methods of `Client`: each call runs in one event loop to its end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

from sentq import AsyncClient
from sentq.aio import AsyncBatch, AsyncDeadLetters, AsyncJob

__all__ = ["BlockingFacade"]


class BlockingFacade:
    """Stands before an object of `sentq.aio`; what it returns is the same for `sentq`."""

    def __init__(self, target: object, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        is_client = isinstance(self._target, AsyncClient)
        found = getattr(self._target, "aclose" if is_client and name == "close" else name)
        return self._call(found) if inspect.ismethod(found) else self._blocking(found)

    def _call(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: object, **kwargs: object) -> Any:
            return self._blocking(method(*(map(_bare, args)), **kwargs))

        return call

    def _blocking(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            return self._blocking(self._runner.run(value))
        if isinstance(value, AsyncIterator):
            return self._iterate(value)
        if isinstance(value, list | tuple):
            return type(value)(map(self._blocking, value))
        is_ours = isinstance(value, AsyncBatch | AsyncClient | AsyncDeadLetters | AsyncJob)
        return BlockingFacade(value, self._runner) if is_ours else value

    def _iterate(self, iterator: AsyncIterator[Any]) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(iterator, _END)

        while (value := self._runner.run(following())) is not _END:
            yield self._blocking(value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_END = object()


def _bare(value: object) -> object:
    if isinstance(value, list):
        return list(map(_bare, value))
    return value._target if isinstance(value, BlockingFacade) else value
