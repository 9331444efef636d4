"""Where a webhook is sent: URLs, read strictly, and the operator's list of hosts.

What is read here is what is connected to: the request is built from these parts, and no library
reads the URL a second time in another way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from typing import TYPE_CHECKING, Final, Self

from sentq.errors import WebhookRefused
from sentq.webhooks.network.addresses import Address, Network, is_allowed, parse_address

if TYPE_CHECKING:
    from sentq.webhooks.settings import WebhookSettings

__all__ = [
    "MAX_URL_CHARS",
    "HostPattern",
    "TargetRules",
    "WebhookTarget",
    "parse_network",
    "parse_pattern",
    "parse_target",
]

MAX_URL_CHARS: Final = 2048
_MAX_HOST_CHARS: Final = 253
_MAX_PORT: Final = 65_535
_PORTS: Final = {"https": 443, "http": 80}

#: Printable ASCII without a space and a backslash, which some programs read as a slash.
_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[!-.0->@-\[\]-~]*)"
    r"(?P<path>/[!-\[\]-~]*|\?[!-\[\]-~]*)?",
    re.ASCII,
)
_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?", re.ASCII
)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)

#: A last label of this form makes a host an address of IPv4, written in one of many ways.
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """A URL in parts.

    Attributes:
        scheme: `https` or `http`.
        host: A name in lower case, or an address in numbers; of IPv6 without brackets.
        port: The port.
        path: Path and query, as they are sent.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """Scheme, host and port, for people and logs. The rest of a URL may be a secret."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port, as the header `Host` has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_target(url: object) -> WebhookTarget:
    """Read a URL.

    Raises:
        WebhookRefused: It is not an absolute URL of http or https, has a user or a fragment, or is
            longer than 2,048 characters. The message does not quote it.
    """
    if not isinstance(url, str) or not url:
        raise WebhookRefused("callback_url must be a URL such as https://example.com/hook")
    if len(url) > MAX_URL_CHARS:
        raise WebhookRefused(
            f"callback_url has {len(url):,} characters; the limit is {MAX_URL_CHARS:,}"
        )
    found = _URL.fullmatch(url)
    if found is None:
        raise WebhookRefused(
            "callback_url must be a URL such as https://example.com/hook, in ASCII: encode other "
            "characters, and names of hosts as Punycode"
        )
    if "@" in found["authority"]:
        raise WebhookRefused("callback_url must not have a user or a password")
    if "#" in url:
        raise WebhookRefused("callback_url must not have a fragment (#)")
    scheme = found["scheme"].lower()
    if scheme not in _PORTS:
        raise WebhookRefused("callback_url must start with https://")
    host, port = _host_and_port(found["authority"], scheme)
    path = found["path"] or "/"
    return WebhookTarget(scheme, host, port, path if path.startswith("/") else f"/{path}")


def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(authority)
    host = None if found is None else _host(found)
    if found is None or host is None:
        raise WebhookRefused("callback_url has no valid host or port")
    port = int(found["port"] or _PORTS[scheme])
    if not 1 <= port <= _MAX_PORT:
        raise WebhookRefused("callback_url has no valid port")
    return host, port


def _host(found: re.Match[str]) -> str | None:
    """Return the host in the form that is compared; None for what is no host."""
    if found["six"] is not None:
        address = parse_address(found["six"])
        return str(address) if isinstance(address, IPv6Address) else None
    name = found["host"].lower().removesuffix(".")
    labels = name.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        # getaddrinfo reads 127.1, 0x7f.0.0.1 and 2130706433 as addresses too.
        return str(address) if (address := parse_address(name)) is not None else None
    is_name = len(name) <= _MAX_HOST_CHARS and all(map(_LABEL.fullmatch, labels))
    return name if is_name else None


@dataclass(frozen=True, slots=True)
class HostPattern:
    """An entry of the operator's list.

    Attributes:
        scheme: The scheme.
        host: A name or an address; a name that begins with a dot stands for all that end so.
        port: The port.
    """

    scheme: str
    host: str
    port: int

    def allows(self, target: WebhookTarget) -> bool:
        """Return whether the entry allows a target."""
        if (self.scheme, self.port) != (target.scheme, target.port):
            return False
        if self.host.startswith("."):
            return target.host.endswith(self.host)
        return target.host == self.host

    @classmethod
    def of(cls, target: WebhookTarget, *, is_suffix: bool) -> Self:
        """Return the entry for the origin of a target."""
        return cls(target.scheme, f".{target.host}" if is_suffix else target.host, target.port)


def parse_pattern(text: str) -> HostPattern:
    """Read an entry of the operator's list: `example.com`, `*.example.com`,
    `http://10.1.2.3:8080`.

    Raises:
        ValueError: It is not one.
    """
    scheme, separator, rest = text.strip().rpartition("://")
    name = rest.removeprefix("*.")
    try:
        target = parse_target(f"{scheme if separator else 'https'}://{name}")
    except WebhookRefused:
        target = None
    is_suffix = name != rest
    if target is None or target.path != "/" or "/" in name or (is_suffix and _is_address(target)):
        raise ValueError(
            "a host is written like example.com, *.example.com or http://10.1.2.3:8080"
        )
    return HostPattern.of(target, is_suffix=is_suffix)


def _is_address(target: WebhookTarget) -> bool:
    return parse_address(target.host) is not None


def parse_network(text: str) -> Network:
    """Read a network such as `10.1.0.0/16`.

    Raises:
        ValueError: It is not one.
    """
    try:
        return ip_network(text.strip())
    except ValueError:
        raise ValueError("a network is written like 10.1.0.0/16 or fd12:3456::/32") from None


class TargetRules:
    """What the operator allows.

    Args:
        settings: The hosts and networks.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._patterns = tuple(map(parse_pattern, settings.hosts))
        self._networks = tuple(map(parse_network, settings.private_networks))

    def check(self, url: object) -> WebhookTarget:
        """Read a URL that the operator allows. Addresses of names are checked later, as they are
        connected to.

        Raises:
            WebhookRefused: It is no valid URL, or not allowed.
        """
        target = parse_target(url)
        if self._patterns:
            if not any(pattern.allows(target) for pattern in self._patterns):
                raise WebhookRefused(
                    "the scheme, host and port of callback_url are not in webhooks.hosts"
                )
        elif target.scheme != "https" or target.port != _PORTS["https"]:
            raise WebhookRefused(
                "callback_url must be https on port 443; webhooks.hosts can allow others"
            )
        address = parse_address(target.host)
        if address is not None and not self.allows_address(address):
            raise WebhookRefused(
                "the address in callback_url is not public, and not in webhooks.private_networks"
            )
        return target

    def allows_address(self, address: Address) -> bool:
        """Return whether an address may be connected to."""
        return is_allowed(address, self._networks)

    def allows_all(self, addresses: Sequence[Address | None]) -> bool:
        """Return whether there are addresses and each of them may be connected to. A host with
        public and private addresses is refused: it may be an attempt to have one of each tried."""
        return bool(addresses) and all(
            each is not None and self.allows_address(each) for each in addresses
        )
