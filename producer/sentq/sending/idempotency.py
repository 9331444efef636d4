"""Idempotency keys: the same key means the same job, as long as its outcome is kept.

    sentq-key-<SHA-256 of the key>   string   the job's id, after a `?` while it is being sent

If jobs and outcomes are in one Redis, the script that sends a job also records its key. Otherwise
the key is reserved first, and other senders of the same key wait until the job is sent or not.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final

from sentq.connection.app import key_with_result_prefix
from sentq.wire.lua import load_script

if TYPE_CHECKING:
    from sentq.results.reader import ResultReader

__all__ = ["KeyReservation", "reservation_key"]

_POLL_INTERVAL_S: Final = 0.02

_RESERVE: Final = load_script("sentq.wire", "reserve_key")
_RELEASE: Final = load_script("sentq.wire", "release_key")


def reservation_key(key: str) -> str:
    """Return the name under which the job of an idempotency key is recorded in Redis.

    It holds a hash, because a key may be confidential, such as an order number.
    """
    return f"sentq-key-{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


class KeyReservation:
    """The reservation of an idempotency key while its job is being sent.

    Args:
        results: The Redis in which keys are recorded.
        key: The key, as the sender gives it.
        job_id: The job to be sent.
        lasts_s: How long the reservation lasts, in seconds: longer than sending takes. Another
            sender may reserve the key after that.

    Raises, from each method:
        ResultsUnavailable: Redis did not answer, or refused.
    """

    def __init__(self, results: ResultReader, key: str, job_id: str, *, lasts_s: int) -> None:
        self._results = results
        self._key = key_with_result_prefix(results.app, reservation_key(key))
        self._job_id = job_id
        self._lasts_s = lasts_s

    def take(self) -> str | None:
        """Reserve the key; return the job that has it already, or None."""
        while True:
            known = self._results.run_script(_RESERVE, [self._key], [self._job_id, self._lasts_s])
            if known is None:
                return None
            if not known.startswith(b"?"):
                return str(known, "ascii")
            time.sleep(_POLL_INTERVAL_S)

    def keep(self) -> None:
        """Record that the job was sent: it has the key as long as outcomes are kept."""
        self._results.command("SET", self._key, self._job_id, "EX", self._results.ttl_s)

    def release(self) -> None:
        """Release the key: the job was not sent."""
        self._results.run_script(_RELEASE, [self._key], [self._job_id])
