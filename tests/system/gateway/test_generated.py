"""Some generated requests against a gateway; `make cases` sends thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentq import Settings
from tests.support.gateway.cases import VARIABLES, run_cases
from tests.support.gateway.keys import with_new_key
from tests.support.processes import RedisProcess
from tests.system.gateway.conftest import StartGateway

pytestmark = pytest.mark.slow


def test_generated_requests_are_answered_as_the_document_says(
    start_gateway: StartGateway, scored_redis: RedisProcess, tmp_path: Path
) -> None:
    settings = Settings.load(broker_url=scored_redis.url_of("operator"))
    key = with_new_key(settings, "cases", "admin").key
    gateway = start_gateway(**VARIABLES)
    found = run_cases(gateway, tmp_path, examples=3, key=key)
    assert found.code == 0, found.output[-5000:]
    assert found.cases >= 200
    assert "was not handled" not in gateway.log
    assert not [line for line in gateway.log.splitlines() if ": 50" in line]
