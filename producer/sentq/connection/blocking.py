"""The driver of steps for callers that block: each request is done before the next one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sentq.connection.stand_in import stand_in
from sentq.wire.lua import execute
from sentq.wire.steps import Blocking, Pause, Request, RoundTrip, ScriptCall

if TYPE_CHECKING:
    import redis

__all__ = ["perform"]


def perform(connection: redis.Redis, request: Request) -> Any:
    """Do what steps request, and return the reply.

    Args:
        connection: Adds no prefix to keys. It is not used while something stands in for Redis.
        request: The request.

    Raises:
        redis.RedisError: Redis did not answer, or refused.
        TypeError: The request is unknown.
    """
    if (in_place := stand_in()) is not None:
        return in_place.perform(request)
    if isinstance(request, tuple):
        return execute(connection, request)
    match request:
        case ScriptCall(script, keys, arguments):
            return script.run(connection, keys, arguments)
        case RoundTrip(commands):
            with connection.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return pipeline.execute()
        case Pause(seconds):
            return time.sleep(seconds)
        case Blocking(call):
            return call()
    raise TypeError(f"not a request: {type(request).__name__}")
