"""A gateway in a process of its own, as `sentq gateway` starts it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final, Self

import httpx2 as httpx

from tests.support.processes import LoggedProcess, free_port

__all__ = ["PROBLEMS", "GatewayProcess"]

#: What the command prints once it listens, alone on a line or within one of JSON.
_LISTENS: Final = re.compile(r"gateway: (http://[^\s\"]+)")

#: What the log must not have.
PROBLEMS: Final = re.compile(
    r"Traceback|was not handled|never retrieved|never awaited|Task was destroyed|ResourceWarning"
)


class GatewayProcess(LoggedProcess):
    """A gateway.

    Args:
        folder: Its log is written there.
        broker_url: The Redis of its jobs.
        options: Options of the command.
        variables: Variables of its environment.
    """

    def __init__(self, folder: Path, broker_url: str, *options: str, **variables: str) -> None:
        super().__init__(
            [
                *(sys.executable, "-W", "default::ResourceWarning", "-m", "sentq.cli"),
                *("gateway", "--port", "0", *options),
            ],
            {"SENTQ_BROKER_URL": broker_url, **variables},
            folder / f"gateway-{free_port()}.log",
        )

    @property
    def url(self) -> str:
        """The address on which it listens, without a path."""
        found = _LISTENS.search(self.log)
        assert found is not None, self.log
        return found[1]

    def wait_until_ready(self) -> Self:
        """Wait until it takes requests."""
        return self.wait_until(self._is_ready)

    def client(self, key: str | None = None, *, timeout_s: float = 60) -> httpx.Client:
        """Return a client of the gateway.

        Args:
            key: The key of its requests; None for none.
            timeout_s: How long it waits.
        """
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout_s)

    def stop(self, *, within_s: float = 40) -> int:
        """Send SIGTERM, and return the exit code. Requests that are under way end first."""
        return super().stop(within_s=within_s)

    def _is_ready(self) -> bool:
        if _LISTENS.search(self.log) is None:
            return False
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False
