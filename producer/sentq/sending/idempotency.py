"""Keys under which jobs are sent once: the same key means the same job, as long as its outcome
is kept.

    sentq-key-<SHA-256 of the key>   string   the job's id, after a `?` while it is being sent

Where jobs and outcomes lie in one Redis, the script that sends a job takes its key. Elsewhere the
key is reserved first, and whoever comes meanwhile waits for what becomes of it.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final

from sentq.connection.app import result_key
from sentq.wire.lua import load_script

if TYPE_CHECKING:
    from sentq.results.reader import ResultReader

__all__ = ["KeyReservation", "key_of"]

_LOOK_AGAIN_S: Final = 0.02

_RESERVE: Final = load_script("sentq.wire", "reserve_key")
_RELEASE: Final = load_script("sentq.wire", "release_key")


def key_of(key: str) -> str:
    """Where the job of this key is noted. Keys may be anybody's order numbers: they are hashed."""
    return f"sentq-key-{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


class KeyReservation:
    """A key, while the job that shall have it is being sent.

    Args:
        results: Where keys are noted.
        key: As the sender says it.
        job_id: The job to be sent.
        lasts_s: Longer than sending takes: after this somebody else may try.

    Raises, from each method:
        ResultsUnavailable: Redis did not answer, or refused.
    """

    def __init__(self, results: ResultReader, key: str, job_id: str, *, lasts_s: int) -> None:
        self._results = results
        self._key = result_key(results.app, key_of(key))
        self._job_id = job_id
        self._lasts_s = lasts_s

    def take(self) -> str | None:
        """Reserve the key; return the job that has it already, if one has."""
        while True:
            known = self._results.run_script(_RESERVE, [self._key], [self._job_id, self._lasts_s])
            if known is None:
                return None
            if not known.startswith(b"?"):
                return str(known, "ascii")
            time.sleep(_LOOK_AGAIN_S)

    def keep(self) -> None:
        """The job was sent: the key is its own, as long as an outcome is kept."""
        self._results.command("SET", self._key, self._job_id, "EX", self._results.ttl_s)

    def release(self) -> None:
        """The job was not sent."""
        self._results.run_script(_RELEASE, [self._key], [self._job_id])
