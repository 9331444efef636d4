"""Which addresses on the network a webhook may be sent to: public ones.

Python's `is_global` alone does not do: it holds for multicast, and for addresses of IPv6 in which
one of IPv4 is written that a router or the kernel takes out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, TypeAlias

__all__ = ["Address", "Network", "is_allowed", "parse_address"]

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

#: Public addresses that lead to the relays of 6to4, which are out of use.
_RELAYS: Final = IPv4Network("192.88.99.0/24")

#: What is never called, not even in a network that the operator allows: these have no receivers,
#: and the metadata services of clouds, with their credentials, are link-local.
_NEVER: Final[Sequence[Network]] = (
    ip_network("0.0.0.0/8"),
    ip_network("169.254.0.0/16"),
    ip_network("192.0.0.0/24"),  # of protocols; Oracle's clouds have their metadata service there
    ip_network("224.0.0.0/3"),
    ip_network("168.63.129.16/32"),  # a public address, at which Azure's hosts give out credentials
    ip_network("::/128"),
    ip_network("fe80::/10"),
    ip_network("ff00::/8"),
    ip_network("fd00:ec2::/32"),  # the metadata service of AWS
)

#: Global unicast addresses of IPv6 are in this network. All else is local, reserved or mapped.
_UNICAST: Final = IPv6Network("2000::/3")

#: Networks of IPv6 whose addresses contain one of IPv4, and how far it is shifted: that of NAT64,
#: which networks without IPv4 use for each receiver that has no IPv6.
_NAT64: Final = IPv6Network("64:ff9b::/96")

#: 6to4 and Teredo contain one too, and are out of use: refused as a whole.
_TUNNELS: Final = (IPv6Network("2002::/16"), IPv6Network("2001::/32"))


def parse_address(text: str) -> Address | None:
    """Return the address that is written in a text as numbers; None if it is a name, or has a zone
    of IPv6."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def is_allowed(address: Address, private_networks: Sequence[Network] = ()) -> bool:
    """Return whether a webhook may be sent to an address: it is public, or in a network that the
    operator allows."""
    inner = _written_in(address)
    if inner is not None:
        return is_allowed(inner, private_networks)
    if any(address in network for network in _NEVER):
        return False
    return _is_public(address) or any(address in network for network in private_networks)


def _written_in(address: Address) -> IPv4Address | None:
    """Return the address of IPv4 to which one of IPv6 leads."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (
        address not in _UNICAST or any(address in network for network in _TUNNELS)
    ):
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and address not in _RELAYS
    )
