"""Gateways on a real Redis whose jobs a real worker scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from sentq.gateway.keys.store import KEYS_KEY
from tests.support.gateway.process import GatewayProcess
from tests.support.processes import RedisProcess

#: Starts a gateway with these options and variables.
StartGateway: TypeAlias = Callable[..., GatewayProcess]


@pytest.fixture
def no_keys(scored_redis: RedisProcess) -> Iterator[None]:
    """Remove the keys that the test makes: other tests use gateways without keys."""
    yield
    with scored_redis.client() as redis:
        redis.delete(KEYS_KEY)


@pytest.fixture
def start_gateway(
    scored_redis: RedisProcess, tmp_path: Path, no_keys: None
) -> Iterator[StartGateway]:
    """Start gateways of the Redis whose jobs are scored; each is killed at the end."""
    started: list[GatewayProcess] = []

    def start(*options: str, **variables: str) -> GatewayProcess:
        started.append(
            GatewayProcess(tmp_path, scored_redis.url_of("gateway"), *options, **variables)
        )
        return started[-1].wait_until_ready()

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()
