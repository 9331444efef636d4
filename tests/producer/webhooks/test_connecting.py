"""Where requests go: names that change their address, redirects, proxies, certificates; and what a
receiver may do with time and memory."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from sentq.webhooks.network import addresses
from sentq.webhooks.network.connecting import HostLookup, LookupFailed
from sentq.webhooks.network.posting import Poster, PostResult
from sentq.webhooks.network.targets import TargetRules
from sentq.webhooks.settings import WebhookSettings
from tests.support.tls.certificates import Authority
from tests.support.webhooks.receiver import ReceiverReply, WebhookReceiver

NAME: Final = "receiver.test"

#: An address of loopback that these tests declare public; 127.0.0.1 is a private one.
PUBLIC: Final = "127.0.0.2"
PRIVATE: Final = "127.0.0.1"

_AnswerOf = Callable[[int], Sequence[str]]


class NameServer:
    """Stands in for the resolver of the system: tells the addresses of one name.

    Args:
        answer: Returns the addresses of the name at each look-up, which are counted from 0.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: _AnswerOf) -> None:
        self.lookups = 0
        self._answer = answer
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)

    def _getaddrinfo(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in (NAME, NAME.encode()):
            return self._real(host, port, *args, **options)
        found = self._answer(self.lookups)
        self.lookups += 1
        return [row for each in found for row in self._real(each, port, *args, **options)]


@pytest.fixture
def public_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 127.0.0.2 be a public address, so that a test can connect to one."""
    real = addresses._is_public
    monkeypatch.setattr(
        addresses, "_is_public", lambda each: each == ip_address(PUBLIC) or real(each)
    )


def _settings(*receivers: WebhookReceiver, **settings: Any) -> WebhookSettings:
    hosts = [each.url("", host=NAME) for each in receivers]
    values: dict[str, Any] = {"hosts": hosts, "timeout_s": 5}
    return WebhookSettings.load(**values | settings)


def _post(url: str, settings: WebhookSettings, count: int = 1) -> list[PostResult]:
    """Send requests to a URL, one after the other."""

    async def main() -> list[PostResult]:
        rules = TargetRules(settings)
        poster = Poster(settings, rules)
        try:
            return [await poster.post(rules.check(url), {}, b"{}") for _ in range(count)]
        finally:
            await poster.aclose()

    return asyncio.run(main())


# --- Addresses -------------------------------------------------------------------------------


@pytest.mark.usefixtures("public_loopback")
def test_a_name_that_changes_its_address_is_connected_to_where_it_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        WebhookReceiver(host=PUBLIC) as public,
        WebhookReceiver(host=PRIVATE, port=public.port) as private,
    ):
        server = NameServer(monkeypatch, lambda n: [PRIVATE] if n % 2 else [PUBLIC])
        url = public.url(host=NAME)
        # A program that checks an address and then connects to the name reaches the private one.
        assert socket.getaddrinfo(NAME, public.port)[0][4][0] == PUBLIC
        with httpx2.Client(trust_env=False) as naive:
            assert naive.post(url, json={}).status_code == 204
        assert (len(public.requests), len(private.requests)) == (0, 1)
        server.lookups = 0
        first, second = _post(url, _settings(public), count=2)
        assert first == PostResult(204)
        assert server.lookups == 2, "one look-up for each request"
        assert second.is_refused
        assert (len(public.requests), private.connections) == (1, 1)
        assert public.requests[0].headers["host"] == f"{NAME}:{public.port}"


@pytest.mark.usefixtures("public_loopback")
@pytest.mark.parametrize(
    "found",
    [
        [PRIVATE],
        [PUBLIC, PRIVATE],
        [PRIVATE, PUBLIC],
        ["::1"],
        ["169.254.169.254"],
        ["::ffff:127.0.0.1"],
        ["10.0.0.1"],
    ],
)
def test_a_name_with_a_private_address_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch, found: list[str]
) -> None:
    with (
        WebhookReceiver(host=PUBLIC) as public,
        WebhookReceiver(host=PRIVATE, port=public.port) as private,
    ):
        NameServer(monkeypatch, lambda _: found)
        (answer,) = _post(public.url(host=NAME), _settings(public))
        assert answer.is_refused
        assert (public.connections, private.connections) == (0, 0)


def test_an_allowed_network_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with WebhookReceiver() as receiver:
        NameServer(monkeypatch, lambda _: [PRIVATE])
        settings = _settings(receiver, private_networks="127.0.0.0/30")
        assert _post(receiver.url(host=NAME), settings) == [PostResult(204)]


def test_an_address_that_does_not_answer_is_followed_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with WebhookReceiver(host="127.0.0.3") as receiver:
        NameServer(monkeypatch, lambda _: [PRIVATE, "127.0.0.3"])
        settings = _settings(receiver, private_networks="127.0.0.0/8")
        assert _post(receiver.url(host=NAME), settings) == [PostResult(204)]


def test_a_name_without_an_address_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with WebhookReceiver() as receiver:
        NameServer(monkeypatch, fail)
        (answer,) = _post(receiver.url(host=NAME), _settings(receiver))
    assert (answer.error, answer.is_refused) == ("the host has no address", False)


def test_a_resolver_that_does_not_answer_costs_one_thread_and_the_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = threading.Event()

    def hang(_: int) -> Sequence[str]:
        ends.wait(30)
        return []

    server = NameServer(monkeypatch, hang)

    async def main() -> None:
        lookup = HostLookup()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await asyncio.gather(*(lookup.addresses(NAME, 443) for _ in range(50)))
        assert server.lookups == 0, "the first one has not ended"
        names = [each.name for each in threading.enumerate()]
        assert names.count("sentq-webhook-lookup") == 1
        ends.set()

    asyncio.run(main())


def test_look_ups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ends.wait(30) and [])

    async def main() -> None:
        lookup = HostLookup()
        waiting = [asyncio.create_task(lookup.addresses(f"h{n}.test", 443)) for n in range(40)]
        done, _ = await asyncio.wait(waiting, timeout=0.5)
        failed = [task for task in done if isinstance(task.exception(), LookupFailed)]
        assert len(failed) == 8
        ends.set()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(main())


# --- What else would lead elsewhere ----------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with WebhookReceiver() as elsewhere:
        reply = ReceiverReply(status, {"location": elsewhere.url()})
        with WebhookReceiver(answer=lambda _: reply) as receiver:
            settings = _settings(receiver, hosts=[receiver.origin], private_networks="127.0.0.0/8")
            (answer,) = _post(receiver.url(), settings)
        assert answer.status == status
        assert "redirects are not followed" in (answer.error or "")
        assert not elsewhere.connections


def test_proxies_and_passwords_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with WebhookReceiver() as proxy, WebhookReceiver() as receiver:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        settings = _settings(receiver, hosts=[receiver.origin], private_networks="127.0.0.0/8")
        assert _post(receiver.url(), settings) == [PostResult(204)]
        assert not proxy.connections
        assert "authorization" not in receiver.requests[0].headers


def test_a_certificate_is_checked_for_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    NameServer(monkeypatch, lambda _: [PRIVATE])
    authority = Authority(tmp_path / "authority")
    allowed: dict[str, Any] = {"private_networks": "127.0.0.0/8"}
    trusted = allowed | {"tls_ca_file": authority.file}
    right = authority.certificate("right", address=f"DNS:{NAME}")
    other = authority.certificate("other", address=f"DNS:other.test,IP:{PRIVATE}")
    with WebhookReceiver(certificate=right) as receiver:
        url = receiver.url(host=NAME)
        assert _post(url, _settings(receiver, **trusted)) == [PostResult(204)]
        (answer,) = _post(url, _settings(receiver, **allowed))
        assert "certificate verify failed" in (answer.error or ""), "an unknown authority"
    with WebhookReceiver(certificate=other) as receiver:
        (answer,) = _post(receiver.url(host=NAME), _settings(receiver, **trusted))
        assert "certificate verify failed" in (answer.error or ""), "another name"
        assert not receiver.requests


# --- Time and memory -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply", [ReceiverReply(delay_s=30), ReceiverReply(drips=True, headers={"x": "y" * 900})]
)
def test_a_slow_receiver_has_the_time_limit(reply: ReceiverReply) -> None:
    with WebhookReceiver(answer=lambda _: reply) as receiver:
        settings = _settings(
            receiver, hosts=[receiver.origin], private_networks="127.0.0.0/8", timeout_s=1
        )
        started_s = time.monotonic()
        (answer,) = _post(receiver.url(), settings)
        assert answer == PostResult(None, "no response within 1 s")
        assert time.monotonic() - started_s < 15


@pytest.mark.parametrize("status", [200, 410])
def test_a_response_counts_though_its_body_never_comes(status: int) -> None:
    reply = ReceiverReply(status, body_chunks=1, hangs=True)
    with WebhookReceiver(answer=lambda _: reply) as receiver:
        settings = _settings(receiver, hosts=[receiver.origin], private_networks="127.0.0.0/8")
        started_s = time.monotonic()
        (result,) = _post(receiver.url(), settings)
        assert result.status == status
        assert (result.error is None) == (status == 200)
        assert time.monotonic() - started_s < 4.5, "it is not waited for"


@pytest.mark.parametrize("status", [200, 500])
def test_a_huge_response_is_not_read(status: int) -> None:
    reply = ReceiverReply(status, body_chunks=4096)  # 256 MiB
    with WebhookReceiver(answer=lambda _: reply) as receiver:
        settings = _settings(receiver, hosts=[receiver.origin], private_networks="127.0.0.0/8")
        tracemalloc.start()
        (answer,) = _post(receiver.url(), settings)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert answer.status == status
        # What stands in the buffers of both sockets.
        assert receiver.sent_bytes < 32 * 1024 * 1024
    assert peak_bytes < 8 * 1024 * 1024


def test_endless_headers_are_refused() -> None:
    reply = ReceiverReply(204, {f"x-{number}": "y" * 1000 for number in range(300)})
    with WebhookReceiver(answer=lambda _: reply) as receiver:
        settings = _settings(receiver, hosts=[receiver.origin], private_networks="127.0.0.0/8")
        (answer,) = _post(receiver.url(), settings)
    assert "RemoteProtocolError" in (answer.error or "")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120.0), ("", None), ("soon", None), ("-5", None), ("99999999999999", 999_999_999.0)],
)
def test_what_a_receiver_asks_for_is_read(value: str, seconds: float | None) -> None:
    with WebhookReceiver(answer=lambda _: ReceiverReply(503, {"retry-after": value})) as receiver:
        settings = _settings(receiver, hosts=[receiver.origin], private_networks="127.0.0.0/8")
        (answer,) = _post(receiver.url(), settings)
    assert answer.retry_after_s == seconds
