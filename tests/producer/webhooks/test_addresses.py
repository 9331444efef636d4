"""Which addresses may be called, against lists of forms that attackers use."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from sentq.webhooks.network.addresses import is_allowed, parse_address

PUBLIC = (
    *("8.8.8.8", "1.1.1.1", "93.184.216.34", "100.63.255.255", "172.15.0.1", "192.167.1.1"),
    *("2606:4700:4700::1111", "2a00:1450:4001:81b::200e"),
    # By NAT64, which networks without IPv4 use, and as a mapped one.
    *("64:ff9b::8.8.8.8", "::ffff:8.8.8.8"),
)

#: Each with what it is.
REFUSED = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "0.0.0.0": "this host",  # noqa: S104 - not listened on
    "0.1.2.3": "this network",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "shared by a provider",
    "169.254.169.254": "the metadata service",
    "168.63.129.16": "Azure's service",
    "192.0.0.192": "Oracle's metadata service",
    "192.0.2.1": "documentation",
    "198.18.0.1": "benchmarks",
    "192.88.99.1": "relays of 6to4",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::127.0.0.1": "compatible with IPv4",
    "::8.8.8.8": "compatible with IPv4, out of use",
    "::ffff:127.0.0.1": "mapped",
    "::ffff:10.0.0.1": "mapped",
    "::ffff:169.254.169.254": "mapped",
    "::ffff:0:127.0.0.1": "translated",
    "64:ff9b::127.0.0.1": "NAT64",
    "64:ff9b::169.254.169.254": "NAT64",
    "64:ff9b:1::10.0.0.1": "NAT64 of a network's own",
    "2002:7f00:1::": "6to4 of a loopback address",
    "2002:808:808::": "6to4",
    "2001:0:7f00:1::": "Teredo",
    "2001:db8::1": "documentation",
    "fc00::1": "unique local",
    "fd00:ec2::254": "the metadata service of AWS",
    "fe80::1": "link-local",
    "fec0::1": "site-local, out of use",
    "ff02::1": "multicast",
    "100::1": "discarded",
    "5f00::1": "segment routing",
}

#: What is not called in an allowed network either.
NEVER = ("169.254.169.254", "168.63.129.16", "0.0.0.1", "224.0.0.1", "fe80::1", "fd00:ec2::254")


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed(text: str) -> None:
    assert is_allowed(ip_address(text))


@pytest.mark.parametrize("text", REFUSED, ids=[f"{a} {what}" for a, what in REFUSED.items()])
def test_other_addresses_are_refused(text: str) -> None:
    assert not is_allowed(ip_address(text))


@pytest.mark.parametrize("text", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::5"])
def test_an_operator_can_allow_networks(text: str) -> None:
    networks = [ip_network("10.1.0.0/16"), ip_network("fd12::/16")]
    assert is_allowed(ip_address(text), networks)
    assert not is_allowed(ip_address("10.2.0.1"), networks)


@pytest.mark.parametrize("text", NEVER)
def test_some_addresses_are_never_called(text: str) -> None:
    everything = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    assert not is_allowed(ip_address(text), everything)
    if ":" not in text:
        assert not is_allowed(ip_address(f"::ffff:{text}"), everything)


@pytest.mark.parametrize("text", ["fe80::1%eth0", "localhost", "127.1", "0x7f.0.0.1", "", "1"])
def test_only_plain_addresses_are_read(text: str) -> None:
    assert parse_address(text) is None
