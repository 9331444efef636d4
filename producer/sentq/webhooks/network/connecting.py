"""Connections to receivers: the address of a host is looked up once, checked, and connected to.

    host ── getaddrinfo, in a thread ──▶ addresses ── all allowed? ──▶ connect to one of them

A library that is given the name would look it up again, and an attacker's server of names may
answer with another address the second time. Certificates are checked for the name all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterable
from typing import Any, Final

import httpcore2

from sentq.webhooks.network.addresses import Address, parse_address
from sentq.webhooks.network.targets import TargetRules

__all__ = ["AddressRefused", "CheckedNetwork", "HostLookup", "LookupFailed"]

#: The most look-ups at a time. Each has a thread, which may outlive its time limit.
_MOST_LOOKUPS: Final = 32

#: How many of the addresses of a host are tried.
_MOST_ADDRESSES: Final = 4


class LookupFailed(Exception):
    """The host has no address, or its look-up could not begin."""


class AddressRefused(Exception):
    """An address of the host is not public, and not in a network that the operator allows."""


class HostLookup:
    """Looks hosts up with the resolver of the system, each in a thread of its own.

    The resolver cannot be interrupted, and may take a minute for a host whose servers do not
    answer. So there is one look-up of a host at a time, for all that wait for it.
    """

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], asyncio.Future[list[Address | None]]] = {}

    async def addresses(self, host: str, port: int) -> list[Address | None]:
        """Return the addresses of a host, None for each one that cannot be read.

        Raises:
            LookupFailed: There are none, or too many other look-ups are under way.
        """
        literal = parse_address(host)
        if literal is not None:
            return [literal]
        running = self._running.get((host, port))
        if running is None:
            running = self._start(host, port)
        # The look-up goes on if this caller's time is over.
        return await asyncio.shield(running)

    def _start(self, host: str, port: int) -> asyncio.Future[list[Address | None]]:
        if len(self._running) >= _MOST_LOOKUPS:
            raise LookupFailed("too many look-ups of hosts are under way")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Address | None]] = loop.create_future()
        self._running[host, port] = future

        def finish(found: list[Address | None] | None) -> None:
            self._running.pop((host, port), None)
            if future.done():
                return
            if found:
                future.set_result(found)
            else:
                future.set_exception(LookupFailed("the host has no address"))
                # No caller may be left that asks for it.
                future.exception()

        def look_up() -> None:
            found = _system_addresses(host, port)
            # The loop may have ended meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(finish, found)

        threading.Thread(target=look_up, name="sentq-webhook-lookup", daemon=True).start()
        return future


def _system_addresses(host: str, port: int) -> list[Address | None] | None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    texts = [str(sockaddr[0]) for *_, sockaddr in found]
    return [parse_address(text) for text in dict.fromkeys(texts)]


class CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Opens the connections of a pool of httpcore, to addresses that the operator allows.

    Args:
        rules: Says which addresses these are.
        lookup: Looks hosts up.
    """

    def __init__(self, rules: TargetRules, lookup: HostLookup) -> None:
        self._rules = rules
        self._lookup = lookup
        self._network: httpcore2.AsyncNetworkBackend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to a host.

        Raises:
            LookupFailed: It has no address.
            AddressRefused: One of its addresses may not be connected to.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: None of them can be connected to.
        """
        addresses = await self._lookup.addresses(host, port)
        if not self._rules.allows_all(addresses):
            raise AddressRefused("an address of the host is not allowed")
        failure: Exception = LookupFailed("the host has no address")
        for address in addresses[:_MOST_ADDRESSES]:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure
