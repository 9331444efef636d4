"""The server of a gateway, before it serves."""

from __future__ import annotations

import socket

from sentq import Settings
from sentq.gateway.server import GatewayServer
from sentq.gateway.settings import GatewaySettings


def test_the_address_takes_connections_as_soon_as_it_is_known() -> None:
    server = GatewayServer(Settings(), GatewaySettings.load(port=0))
    with server._socket as listening:
        socket.create_connection(listening.getsockname(), timeout=5).close()
