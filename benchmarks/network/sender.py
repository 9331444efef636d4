"""A client on a host of its own: sends jobs, or one at a time and waits for it, and says how long
that took.

    python -m benchmarks.network.sender sentq|stock backlog JOBS
    python -m benchmarks.network.sender sentq|stock single SECONDS
    python -m benchmarks.network.sender sentq|stock steady SECONDS RATE

It prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from sentq import Client
from sentq.errors import SentqError

__all__ = ["main"]

_TEXT: Final = (
    "A hundred characters of plain English, as a short review of a film may be written, at length."
)

#: Jobs of stock Celery are sent one by one, for so many seconds at most.
_LIMIT_S: Final = 10.0

_TIMEOUT_S: Final = 15.0


class MeasuredSender(Protocol):
    """One of the two clients."""

    def many(self, count: int) -> list[str]:
        """Send jobs in the fastest way, and return the ids of those that were accepted."""

    def one(self) -> str:
        """Send a job, and return its id."""

    def wait(self) -> None:
        """Send a job, and wait for its outcome.

        Raises:
            TimeoutError: It did not come in time.
        """

    def restart(self) -> None:
        """Begin anew, as after a restart of the application."""


class _Sentq:
    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._client = Client()

    def many(self, count: int) -> list[str]:
        texts = [f"{number}: {_TEXT}" for number in range(count)]
        return [job.id for job in self._client.submit_many(texts)]

    def one(self) -> str:
        return self._client.submit(_TEXT).id

    def wait(self) -> None:
        self._client.submit(_TEXT).result(timeout=_TIMEOUT_S)


class _Stock:
    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        from benchmarks.network.stock import make_stock_app

        self._score: Any = make_stock_app().tasks["sentq.score"]

    def many(self, count: int) -> list[str]:
        ids: list[str] = []
        until_s = time.monotonic() + _LIMIT_S
        while len(ids) < count and time.monotonic() < until_s:
            ids.append(self.one())
        return ids

    def one(self) -> str:
        found: str = self._send().id
        return found

    def wait(self) -> None:
        from celery.exceptions import TimeoutError as StockTimeoutError

        try:
            self._send().get(timeout=_TIMEOUT_S)
        except StockTimeoutError as error:
            raise TimeoutError from error

    def _send(self) -> Any:
        return self._score.apply_async(args=[[_TEXT]], queue="sentq", retry=False)


def _backlog(sender: MeasuredSender, jobs: str) -> dict[str, Any]:
    """Send jobs, after one that opens the connections."""
    ids = [sender.one()]
    started = time.perf_counter()
    ids += sender.many(int(jobs))
    return {"ids": ids, "sent_per_s": (len(ids) - 1) / (time.perf_counter() - started)}


def _single(sender: MeasuredSender, seconds: str) -> dict[str, Any]:
    """Send a job and wait for it, again and again; the first one opens the connections."""
    sender.wait()
    times_ms: list[float] = []
    timeouts = 0
    until_s = time.monotonic() + float(seconds)
    while time.monotonic() < until_s or not times_ms:
        started = time.perf_counter()
        try:
            sender.wait()
        except TimeoutError:
            timeouts += 1
        else:
            times_ms.append((time.perf_counter() - started) * 1000)
    return {"times_ms": times_ms, "timeouts": timeouts}


def _steady(sender: MeasuredSender, seconds: str, rate: str) -> dict[str, Any]:
    """Send jobs at a steady rate. A job that is refused is not sent again.

    Gives the ids that were accepted, with when they were, in Unix seconds, how many jobs were
    refused, and how often the client had to be made anew.
    """
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    accepted: list[tuple[str, float]] = []
    refused = restarts = 0
    started = time.monotonic()
    number = 0
    while (now_s := time.monotonic() - started) < float(seconds):
        due_s = number / float(rate)
        if now_s < due_s:
            time.sleep(due_s - now_s)
        number = max(number + 1, int(now_s * float(rate)))
        try:
            accepted.append((sender.one(), time.time()))
        except (SentqError, OperationalError, RedisError, OSError):
            refused += 1
        except RuntimeError:  # "The Celery application must be restarted."
            refused += 1
            restarts += 1
            sender.restart()
    return {"accepted": accepted, "refused": refused, "restarts": restarts}


_SENDERS: Final[dict[str, Callable[[], MeasuredSender]]] = {"sentq": _Sentq, "stock": _Stock}
_MODES: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    "backlog": _backlog,
    "single": _single,
    "steady": _steady,
}


def main(kind: str, mode: str, *words: str) -> None:
    """Print what a mode finds."""
    print(json.dumps(_MODES[mode](_SENDERS[kind](), *words)))


if __name__ == "__main__":
    main(*sys.argv[1:])
