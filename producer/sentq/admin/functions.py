"""Load the functions that clients call into the Redis of messages and that of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis

from sentq.connection.broker import open_broker
from sentq.connection.stand_in import stand_in
from sentq.errors import ResultsUnavailable
from sentq.wire.functions import load_functions

if TYPE_CHECKING:
    from celery import Celery

    from sentq.settings import Settings

__all__ = ["load_into_redis"]


def load_into_redis(app: Celery, settings: Settings) -> None:
    """Load the functions of this version, also if they are there already.

    Raises:
        BrokerUnavailable, ResultsUnavailable: Redis did not answer, is older than 7, or the user
            may not.
    """
    if stand_in() is not None:
        return
    if settings.broker_is_redis:
        with open_broker(app) as broker:
            load_functions(broker.redis, replace=True)
    if not settings.is_single_redis:
        try:
            load_functions(app.backend.client, replace=True)
        except redis.RedisError as error:
            raise ResultsUnavailable(f"the Redis of results cannot be used: {error}") from None
