"""A link with latency and loss between two network namespaces.

`python -m tests.support.network.link NEAR FAR DELAY_S LOSS` makes two network devices with these
names, and passes each packet from one to the other after a delay, or drops it. It prints a line
when the devices exist. Linux' netem does the same in the kernel, if that was built with it. TCP's
windows, retransmissions and time-outs are real with both. The bandwidth is what a process can pass
on: some 100 MB/s.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque
from typing import Final

__all__ = ["main"]

#: From linux/if_tun.h: packets of layer 3, without a header of their own.
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000

_PACKET_BYTES: Final = 65_536

#: How many packets are read of a device before others have their turn.
_AT_ONCE: Final = 64


def _open_device(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


class _Direction:
    """The packets on their way from one device to another."""

    def __init__(self, source: int, target: int, delay_s: float, loss: float) -> None:
        self.source = source
        self._target = target
        self._delay_s = delay_s
        self._loss = loss
        self._chance = random.Random(source)
        self._packets: deque[tuple[float, bytes]] = deque()

    @property
    def due_s(self) -> float:
        """When the next packet arrives."""
        return self._packets[0][0] if self._packets else float("inf")

    def take(self) -> None:
        """Read packets, and drop some."""
        due_s = time.monotonic() + self._delay_s
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(self.source, _PACKET_BYTES)
            except BlockingIOError:
                return
            if self._chance.random() >= self._loss:
                self._packets.append((due_s, packet))

    def deliver(self) -> None:
        """Write the packets whose time has come."""
        now_s = time.monotonic()
        while self.due_s <= now_s:
            try:
                os.write(self._target, self._packets.popleft()[1])
            except OSError:
                return  # The device is not up: as a cable that is not plugged in.


def main(near: str, far: str, delay_s: str, loss: str) -> None:
    """Pass packets on until the process is ended."""
    one, other = _open_device(near), _open_device(far)
    directions = [
        _Direction(source, target, float(delay_s), float(loss))
        for source, target in ((one, other), (other, one))
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        wait_s = min(each.due_s for each in directions) - time.monotonic()
        readable, _, _ = select.select([one, other], [], [], max(0.0, min(wait_s, 1.0)))
        for each in directions:
            if each.source in readable:
                each.take()
            each.deliver()


if __name__ == "__main__":
    main(*sys.argv[1:])
