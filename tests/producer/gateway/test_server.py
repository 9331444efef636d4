"""The server of a gateway, before it serves."""

from __future__ import annotations

import resource
import socket

import pytest

from sentq import Settings
from sentq.gateway import server
from sentq.gateway.server import GatewayServer
from sentq.gateway.settings import GatewaySettings


def test_the_address_takes_connections_as_soon_as_it_is_known() -> None:
    server = GatewayServer(Settings(), GatewaySettings.load(port=0))
    with server._socket as listening:
        socket.create_connection(listening.getsockname(), timeout=5).close()


def test_a_gateway_may_open_as_many_files_as_it_has_connections(
    caplog: pytest.LogCaptureFixture,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        server._permit_files(min(2000, hard))
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(2000, hard), hard)
        server._permit_files(500)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(2000, hard)
        assert not caplog.records
        if hard != resource.RLIM_INFINITY:
            server._permit_files(hard + 1)
            assert "too few for max_connections" in caplog.text
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
