"""The texts in a job's arguments, in the open or encrypted, and the encryption of outcomes.

[["a text"], {}, …]  or  [[], {"sealed": "v1.…"}, …]   ──▶   texts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sentq.contract import (
    NO_OPTIONS,
    SEALED_FIELD,
    TASK_NAME,
    JobOptions,
    JobRequest,
    check_count,
)
from sentq.errors import InvalidInput, NotEncrypted, SettingsError, Undecryptable
from sentq.settings import Settings
from sentq.wire.sealing import Keyring, Purpose, load_keyring
from sentq_worker.jobs.outcomes import OutcomeFields
from sentq_worker.settings import WorkerSettings

__all__ = ["JobEncryption"]

_NO_KEYS: Final = "the texts are encrypted, and this worker has no encryption_keys"


class JobEncryption:
    """Decrypts the texts of jobs, and encrypts outcomes if the settings say so.

    Args:
        settings: The keys, and the limits of a job.
        worker_settings: Whether texts in the open are refused, and outcomes encrypted.
    """

    def __init__(self, settings: Settings, worker_settings: WorkerSettings) -> None:
        self.limits = settings.limits
        self._settings = settings
        self._worker_settings = worker_settings
        self._requires_encryption = worker_settings.require_encryption
        self._encrypts_results = worker_settings.encrypt_results
        self._keyring: Keyring | None = None

    def start(self) -> None:
        """Load the keys. Only a worker does: Flower uses the same app, and needs none.

        Raises:
            SettingsError: They cannot be loaded, or the worker's settings need keys.
        """
        self._keyring = load_keyring(self._settings)
        for name in ("require_encryption", "encrypt_results"):
            if self._keyring is None and getattr(self._worker_settings, name):
                raise SettingsError(f"worker.{name} needs encryption_keys")

    def read(
        self, job_id: str, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> tuple[list[object], JobOptions]:
        """Return the texts in a job's arguments, and what else these ask for.

        Raises:
            InvalidInput: The job as a whole breaks the contract.
            Undecryptable: The texts are encrypted, and cannot be decrypted here.
        """
        asked = NO_OPTIONS
        if SEALED_FIELD in kwargs:
            texts = self._decrypted(job_id, args, kwargs[SEALED_FIELD])
            if len(kwargs) > 1:
                asked = _options_in(kwargs)
        elif self._requires_encryption:
            raise NotEncrypted("the texts are not encrypted, and this worker requires it")
        elif len(args) == 1 and not kwargs and isinstance(args[0], list):
            texts = args[0]  # Nearly every job, and pydantic would copy it.
        else:
            asked = request = JobRequest.from_task(args, kwargs)
            texts = request.texts
        check_count(len(texts), self.limits)
        return texts, asked

    def seal_result(self, job_id: str, outcomes: OutcomeFields) -> Mapping[str, object]:
        """Return the outcomes of a job as they are stored. Errors are never encrypted: they quote
        no text."""
        if self._keyring is None or not self._encrypts_results:
            return outcomes
        return {SEALED_FIELD: self._keyring.seal(outcomes, Purpose.RESULT, job_id)}

    def _decrypted(self, job_id: str, args: Sequence[object], sealed: object) -> list[object]:
        if args:
            raise InvalidInput(f"{TASK_NAME} takes one of two arguments: texts or {SEALED_FIELD}")
        if self._keyring is None:
            raise Undecryptable(_NO_KEYS)
        texts = self._keyring.open(sealed, Purpose.TEXTS, job_id)
        if not isinstance(texts, list):
            raise InvalidInput(f"{TASK_NAME}: the encrypted texts must be a list")
        return texts


def _options_in(kwargs: Mapping[str, object]) -> JobOptions:
    """Return what a job asks for whose texts are encrypted: the texts alone are.

    Raises:
        InvalidInput: An option is unknown, or does not fit.
    """
    try:
        return JobOptions.checked({k: v for k, v in kwargs.items() if k != SEALED_FIELD})
    except InvalidInput as error:
        raise InvalidInput(f"{TASK_NAME}: {error}") from None
