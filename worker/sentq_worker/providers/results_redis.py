"""The Redis of the app's results, where providers keep the cache, budgets and breaker states."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import redis
    from celery import Celery

__all__ = ["key_prefix", "results_client"]


def results_client(app: Celery) -> redis.Redis:
    """Return a client of the Redis that stores the app's results."""
    client: redis.Redis = app.backend.client
    return client


def key_prefix(app: Celery) -> str:
    """Return the configured prefix of all keys of the app's results; empty if it is not set."""
    options = app.conf.get("result_backend_transport_options") or {}
    prefix: str = options.get("global_keyprefix", "")
    return prefix
