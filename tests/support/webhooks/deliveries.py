"""Webhooks as workers publish them, and `sentq webhooks deliver` as a process."""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path
from typing import Any, Final, Self

from sentq.webhooks.callback import WEBHOOK_TASK
from tests.support.processes import LoggedProcess

__all__ = ["SECRET", "DelivererProcess", "job_message", "webhook_environment"]

#: A secret of 24 bytes.
SECRET: Final = "whsec_" + base64.b64encode(b"secret of the tests 0001").decode()


def webhook_environment(*origins: str, **settings: object) -> dict[str, str]:
    """Return the variables of a process that may call receivers on loopback.

    Args:
        origins: The origins that it may call.
        settings: Other settings of `[webhooks]`.
    """
    variables = {
        "SENTQ_WEBHOOKS_SECRETS": SECRET,
        "SENTQ_WEBHOOKS_HOSTS": ",".join(origins),
        "SENTQ_WEBHOOKS_PRIVATE_NETWORKS": "127.0.0.0/8,::1/128",
    }
    return variables | {
        f"SENTQ_WEBHOOKS_{name.upper()}": str(value) for name, value in settings.items()
    }


def job_message(
    url: str, job_id: str = "job-1", *, outcome: dict[str, Any] | None = None, **options: Any
) -> bytes:
    """Return the message of a webhook about a job, as a worker publishes it."""
    error = None if outcome else {"code": "WorkerLost", "message": "the workers were lost"}
    about = {"job_id": job_id, "outcome": outcome, "error": error}
    body = json.dumps([[about, {"url": url, **options}], {}, {}]).encode()
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "headers": {"id": f"{job_id}-then", "task": WEBHOOK_TASK},
            "properties": {"body_encoding": "base64"},
        }
    ).encode()


class DelivererProcess(LoggedProcess):
    """A real `sentq webhooks deliver`.

    Args:
        folder: Its log is written there.
        broker_url: The Redis.
        environment: Further variables.
    """

    def __init__(self, folder: Path, broker_url: str, environment: dict[str, str]) -> None:
        super().__init__(
            [sys.executable, "-m", "sentq.cli", "webhooks", "deliver"],
            {"SENTQ_BROKER_URL": broker_url} | environment,
            folder / f"webhooks-{time.monotonic_ns()}.log",
        )

    def wait_until_ready(self) -> Self:
        """Wait until it delivers."""
        return self.wait_until(lambda: "webhooks are delivered" in self.log)
