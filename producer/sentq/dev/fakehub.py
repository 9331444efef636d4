"""A fake Hub on this machine, in its own process, that a worker can use instead of the real one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

from sentq.errors import SentqError

__all__ = ["FakeHubDidNotStart", "fake_hub", "fake_hub_settings"]

_STOP_TIMEOUT_S: Final = 5.0


class FakeHubDidNotStart(SentqError):
    """The server ended before it printed its URL."""


@contextmanager
def fake_hub(*options: str) -> Iterator[str]:
    """Run a fake Hub for the block, and yield its URL.

    Args:
        options: Options of `python -m sentq_worker.testing`.

    Raises:
        FakeHubDidNotStart: The server did not start.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "sentq_worker.testing", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as server:
        try:
            url = server.stdout.readline().strip() if server.stdout else ""
            if not url:
                raise FakeHubDidNotStart('it is not installed here: pip install "sentq[worker]"')
            yield url
        finally:
            server.terminate()
            try:
                server.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                server.kill()


def fake_hub_settings(url: str) -> dict[str, str]:
    """Return the variables with which a worker uses a fake Hub.

    The local engine comes first if torch is installed.
    """
    return {
        "HF_ENDPOINT": url,
        "HF_TOKEN": "hf_fake",
        "SENTQ_WORKER_HUB_MODEL": "fake/model",
        "SENTQ_WORKER_HUB_ROUTER": f"{url}/hf-inference",
        "SENTQ_WORKER_PROVIDER": "prefer-local" if find_spec("torch") else "hub",
    }
