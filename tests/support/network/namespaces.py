"""Network namespaces behind one bridge: processes with addresses of their own.

A namespace is what a pod has: its own interfaces and its own ports. This process is on the bridge,
too. A namespace may be far: packets to it and from it take time, and some get lost. It takes root
and the program `ip`.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Final, Self

__all__ = ["Namespace", "Network", "NoNamespaces", "ip"]

#: Networks of this process, so that no two have the same names.
_NUMBERS: Final = itertools.count()


class NoNamespaces(Exception):
    """This machine cannot have network namespaces; the message says why."""


class Namespace:
    """A network namespace with one address.

    Args:
        name: Its name for `ip netns`.
        address: Its address.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command that runs another one in the namespace. It keeps its process id."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def ip(self, *words: str) -> None:
        """Run `ip` in the namespace."""
        ip("-netns", self.name, *words)

    def remove(self) -> None:
        """Delete it, with its interfaces."""
        ip("netns", "delete", self.name)


class Network:
    """A bridge with an address of this process, and namespaces behind it. A context manager.

    Raises:
        NoNamespaces: They cannot be made here.
    """

    def __init__(self) -> None:
        number = next(_NUMBERS)
        #: Names of interfaces have at most 15 characters.
        self._prefix = f"sq{os.getpid()}-{number}"
        self._subnet = f"10.{random.randrange(64, 128)}.{random.randrange(256)}"
        self._numbers = itertools.count(2)
        self._namespaces: list[Namespace] = []
        self._links: list[subprocess.Popen[str]] = []
        self.address = f"{self._subnet}.1"

    def __enter__(self) -> Self:
        if os.getuid() != 0 or shutil.which("ip") is None:
            raise NoNamespaces("it takes root and the program ip (iproute2)")
        ip("link", "add", self._prefix, "type", "bridge")
        ip("address", "add", f"{self.address}/24", "dev", self._prefix)
        ip("link", "set", self._prefix, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            link.terminate()
            link.communicate()
        for each in self._namespaces:
            each.remove()
        ip("link", "delete", self._prefix)

    def add(self) -> Namespace:
        """Make a namespace that reaches this process, and that it reaches."""
        found = self._make()
        ip("link", "add", found.name, "type", "veth", "peer", "name", "eth0", "netns", found.name)
        ip("link", "set", found.name, "master", self._prefix, "up")
        found.ip("address", "add", f"{found.address}/24", "dev", "eth0")
        found.ip("link", "set", "eth0", "up")
        return found

    def add_far(self, *, round_trip_s: float, loss: float = 0.0) -> Namespace:
        """Make a namespace that is far away.

        Args:
            round_trip_s: How long a packet and its answer take.
            loss: Which share of the packets gets lost, in each direction.
        """
        found = self._make()
        near, far = found.name, f"{found.name}f"
        words = (near, far, str(round_trip_s / 2), str(loss))
        link = subprocess.Popen(
            [sys.executable, "-m", "tests.support.network.link", *words],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._links.append(link)
        if link.stdout is None or link.stdout.readline() != "ready\n":
            raise NoNamespaces("/dev/net/tun cannot be used")
        ip("link", "set", far, "netns", found.name)
        ip("link", "set", near, "up")
        ip("route", "add", f"{found.address}/32", "dev", near)
        found.ip("address", "add", f"{found.address}/32", "dev", far)
        found.ip("link", "set", far, "up")
        found.ip("route", "add", "default", "dev", far)
        return found

    def _make(self) -> Namespace:
        number = next(self._numbers)
        found = Namespace(f"{self._prefix}.{number}", f"{self._subnet}.{number}")
        ip("netns", "add", found.name)
        self._namespaces.append(found)
        found.ip("link", "set", "lo", "up")
        return found


def ip(*words: str) -> None:
    """Run `ip`.

    Raises:
        NoNamespaces: It failed.
    """
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoNamespaces(f"ip {' '.join(words)}: {done.stderr.strip()}")
