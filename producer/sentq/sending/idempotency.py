"""Idempotency keys: the same key means the same job, as long as its outcome is kept.

    sentq-key-<hash of the key>               string   the record: the job's id, and digests of its
    sentq-key-<namespace>:<hash of the key>            texts; a `?` before it while it is being sent

If jobs and outcomes are in one Redis, the script that sends a job also records its key. Otherwise
the key is reserved first, and other senders of the same key wait until the job is sent or not.

A digest tells whether a later job under the key has the same texts. It covers the texts,
`local_only`, because a job that may leave the machine is not the same as one that must not,
`detail` if there is one, and what else the job asks for, such as a model. It does not cover what a
repetition may change: the deadline and the queue.

    content = SHA-256 of the texts, local_only, and what the job asks for if that is anything
    open    = HMAC-SHA256(namespace and key, content)    with no encryption keys
    sealed  = HMAC-SHA256(encryption key, open)          one for each encryption key

With encryption keys only the second form is recorded, by every key that the sender has. So clients
that have one key in common understand each other while keys rotate, and Redis cannot test what a
text may be. The first form is accepted from them too: a job may have been sent before encryption
was configured.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import orjson

from sentq.connection.app import key_with_result_prefix
from sentq.wire.functions import FUNCTIONS
from sentq.wire.steps import Pause

if TYPE_CHECKING:
    from sentq.results.reader import ResultReader
    from sentq.wire.sealing import Keyring

__all__ = ["KEY_POLL_INTERVAL_S", "IdempotencyKeys", "KeyClaim", "KeyMismatch", "KeyReservation"]

#: How long a sender waits before it looks again whether another one has sent the job of a key.
KEY_POLL_INTERVAL_S: Final = 0.02

#: The bytes that are recorded of a digest.
_DIGEST_BYTES: Final = 16

_RESERVE: Final = FUNCTIONS["reserve_key"]
_RELEASE: Final = FUNCTIONS["release_key"]


class KeyMismatch(Exception):
    """The key of a job belongs to a job with other texts; `place` counts from 0."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """What a sender tells Redis of the idempotency key of a job.

    Attributes:
        name: Where the job of the key is recorded, without the configured prefix.
        recorded: The digests of the job's texts that are recorded, separated by spaces.
        accepted: Further digests that a job with these texts may have been recorded with.
    """

    name: str
    recorded: str
    accepted: str = ""

    @property
    def digests(self) -> str:
        """The digests, in the form that scripts read (`lib/key_record.lua`)."""
        return f"{self.recorded}|{self.accepted}" if self.accepted else self.recorded

    def record(self, job_id: str) -> str:
        """Return the record of a job that was sent."""
        return f"{job_id} {self.recorded}"


class IdempotencyKeys:
    """Makes the claims of a client's idempotency keys.

    Args:
        namespace: Stands before all keys of the client.
        keyring: The encryption keys; None if texts are not encrypted.
    """

    def __init__(self, namespace: str = "", keyring: Keyring | None = None) -> None:
        self._namespace = namespace
        self._prefix = f"sentq-key-{namespace}:" if namespace else "sentq-key-"
        self._keyring = keyring

    def claim(
        self,
        key: str,
        texts: Sequence[str],
        *,
        local_only: bool,
        detail: str | None = None,
        asked: Mapping[str, object] = MappingProxyType({}),
    ) -> KeyClaim:
        """Return the claim of a job of checked texts that asks for this.

        The name in Redis holds a hash, because a key may be confidential, such as an order number.
        """
        key_bytes = key.encode("utf-8", "surrogatepass")
        name = f"{self._prefix}{hashlib.sha256(key_bytes).hexdigest()}"
        # A job that asks for nothing has the digest that earlier versions gave it.
        covered: list[object] = [texts, local_only]
        covered += [] if detail is None else [detail]
        covered += [dict(asked)] if asked else []
        content = hashlib.sha256(orjson.dumps(covered)).digest()
        owner = b"\0".join([b"sentq idempotency key", self._namespace.encode(), key_bytes])
        open_digest = hmac.digest(owner, content, "sha256")
        if self._keyring is None:
            return KeyClaim(name, _short(open_digest))
        sealed = " ".join(map(_short, self._keyring.digests(open_digest)))
        return KeyClaim(name, sealed, accepted=_short(open_digest))


def _short(digest: bytes) -> str:
    return digest[:_DIGEST_BYTES].hex()


class KeyReservation:
    """The reservation of an idempotency key while its job is being sent.

    Args:
        results: The Redis in which keys are recorded.
        claim: The key, and the digests of the job's texts.
        job_id: The job to be sent.
        lasts_s: How long the reservation lasts, in seconds: longer than sending takes. Another
            sender may reserve the key after that.

    Raises, from each method:
        ResultsUnavailable: Redis did not answer, or refused.
    """

    def __init__(
        self, results: ResultReader, claim: KeyClaim, job_id: str, *, lasts_s: int
    ) -> None:
        self._results = results
        self._key = key_with_result_prefix(results.app, claim.name)
        self._claim = claim
        self._job_id = job_id
        self._lasts_s = lasts_s

    def take(self) -> str | None:
        """Reserve the key; return the job that has it already, or None.

        Raises:
            KeyMismatch: That job has other texts.
        """
        arguments: list[str | int] = [self._job_id, self._claim.digests, self._lasts_s]
        while True:
            reply = self._results.run_script(_RESERVE, [self._key], arguments)
            match reply:
                case [b"reserved"]:
                    return None
                case [b"sent", known]:
                    return str(known, "ascii")
                case [b"conflict"]:
                    raise KeyMismatch(0)
            self._results.perform(Pause(KEY_POLL_INTERVAL_S))

    def keep(self, kept_s: int) -> None:
        """Record that the job was sent: it has the key for so many seconds."""
        self._results.command("SET", self._key, self._claim.record(self._job_id), "EX", kept_s)

    def release(self) -> None:
        """Release the key: the job was not sent."""
        self._results.run_script(_RELEASE, [self._key], [self._job_id, self._claim.digests])
