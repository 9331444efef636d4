"""The texts in a job's arguments, in the open or encrypted, and the encryption of results.

[["a text"], {}, …]  or  [[], {"sealed": "v1.…"}, …]   ──▶   texts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sentq.contract import SEALED_FIELD, TASK_NAME, JobRequest, Limits, check_count
from sentq.errors import InvalidInput, NotEncrypted, SettingsError, Undecryptable
from sentq.settings import Settings
from sentq.wire.sealing import Keyring, Purpose, load_keyring
from sentq_worker.jobs.outcomes import OutcomeFields, SealResult
from sentq_worker.settings import WorkerSettings

__all__ = ["ArgumentReader", "load_worker_keyring", "sealing"]

_NO_KEYS: Final = "the texts are encrypted, and this worker has no encryption_keys"


def load_worker_keyring(settings: Settings, worker_settings: WorkerSettings) -> Keyring | None:
    """Return the keys of a worker; None if it has none.

    Raises:
        SettingsError: They cannot be loaded, or the worker's settings need keys.
    """
    keyring = load_keyring(settings)
    for name in ("require_encryption", "encrypt_results"):
        if keyring is None and getattr(worker_settings, name):
            raise SettingsError(f"worker.{name} needs encryption_keys")
    return keyring


class ArgumentReader:
    """Reads the texts in the arguments of jobs.

    Args:
        limits: The limits of a job.
        keyring: Decrypts texts; None if the worker has no keys.
        requires_encryption: Whether texts in the open are refused.
    """

    def __init__(
        self, limits: Limits, keyring: Keyring | None = None, *, requires_encryption: bool = False
    ) -> None:
        self.limits = limits
        self._keyring = keyring
        self._requires_encryption = requires_encryption

    def texts(
        self, job_id: str, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> list[object]:
        """Return the texts in a job's arguments.

        Raises:
            InvalidInput: The job as a whole breaks the contract.
            Undecryptable: The texts are encrypted, and cannot be decrypted here.
        """
        if SEALED_FIELD in kwargs:
            texts = self._decrypted(job_id, args, kwargs)
        elif self._requires_encryption:
            raise NotEncrypted("the texts are not encrypted, and this worker requires it")
        elif len(args) == 1 and not kwargs and isinstance(args[0], list):
            texts = args[0]  # Nearly every job, and pydantic would copy it.
        else:
            texts = JobRequest.from_task(args, kwargs).texts
        check_count(len(texts), self.limits)
        return texts

    def _decrypted(
        self, job_id: str, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> list[object]:
        if args or len(kwargs) > 1:
            raise InvalidInput(f"{TASK_NAME} takes one argument: texts or {SEALED_FIELD}")
        if self._keyring is None:
            raise Undecryptable(_NO_KEYS)
        texts = self._keyring.open(kwargs[SEALED_FIELD], Purpose.TEXTS, job_id)
        if not isinstance(texts, list):
            raise InvalidInput(f"{TASK_NAME}: the encrypted texts must be a list")
        return texts


def sealing(keyring: Keyring | None) -> SealResult:
    """Return what a worker does to the outcomes of a job before they are stored: encrypt them, or
    nothing without keys. Errors are not encrypted: they quote no text."""

    def seal(job_id: str, outcomes: OutcomeFields) -> Mapping[str, object]:
        if keyring is None:
            return outcomes
        return {SEALED_FIELD: keyring.seal(outcomes, Purpose.RESULT, job_id)}

    return seal
