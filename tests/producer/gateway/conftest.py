"""A gateway in this process, on the test kit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from sentq.gateway.app import make_gateway
from sentq.gateway.closing import Closing
from sentq.gateway.settings import GatewaySettings
from sentq.testing import Kit, inline


@pytest.fixture
def kit() -> Iterator[Kit]:
    """The service behind the gateway: each job is scored as it is submitted."""
    with inline(chars_per_text=1000) as kit:
        yield kit


@pytest.fixture
def gateway_settings() -> GatewaySettings:
    """The settings of the gateway."""
    return GatewaySettings.load(body_timeout_s=0.5, max_body_bytes=64 * 1024)


@pytest.fixture
def closing() -> Closing:
    """Whether the gateway ends."""
    return Closing()


@pytest.fixture
def http(kit: Kit, gateway_settings: GatewaySettings, closing: Closing) -> Iterator[TestClient]:
    """A client of the gateway."""
    app = make_gateway(kit.settings, gateway_settings, closing)
    with TestClient(app, base_url="http://127.0.0.1:8200") as http:
        yield http
