"""Celery's result documents, stored under `celery-task-meta-<id>`, and their meaning.

    submit writes  {"status": "PENDING"}    so that a queued job differs from an unknown one;
                                            once for a send group of several jobs; with
                                            "due_ms": …, if they are due later
    worker writes  {"status": "STARTED"}
    worker writes  {"status": "SUCCESS", "result": JobOutcome}  or  {"status": "FAILURE", …}
    cancel writes  {"status": "REVOKED", …}

Every document that sentq writes begins with its status, where scripts look for it. `states.py`
says which document may replace which.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from pydantic import ValidationError

from sentq.contract import SEALED_FIELD, JobOutcome, JobStatus
from sentq.errors import JobCancelled, JobExpired, JobFailed, Undecryptable
from sentq.wire.sealing import Keyring, Purpose
from sentq.wire.states import RESULT_STATES

__all__ = [
    "QUEUED_DOCUMENT",
    "cancelled_document",
    "celery_document",
    "due_ms_of",
    "failure_fields",
    "failure_in",
    "is_final",
    "outcome_of",
    "parse_document",
    "scheduled_document",
    "status_of",
]

#: The latest time that a date can tell, in Unix milliseconds.
_LATEST_MS: Final = 253_402_300_799_999

#: The document of a job that was sent and that no worker has started.
QUEUED_DOCUMENT: Final = b'{"status": "PENDING", "result": null}'


def scheduled_document(due_ms: int) -> bytes:
    """Return the document of a job that was sent and is due at this time, in Unix milliseconds."""
    return b'{"status": "PENDING", "result": null, "due_ms": %d}' % due_ms


def cancelled_document(job_id: str) -> bytes:
    """Return the document of a cancelled job, in the form of Celery's for a revoked task."""
    result = {
        "exc_type": "TaskRevokedError",
        "exc_message": ["cancelled"],
        "exc_module": "celery.exceptions",
    }
    return celery_document(job_id, "REVOKED", result, done_at=datetime.now(UTC).isoformat())


def celery_document(
    job_id: str, status: str, result: Mapping[str, object], *, done_at: str | None
) -> bytes:
    """Return a document with the fields that Celery writes.

    Args:
        job_id: The job's id.
        status: Celery's status.
        result: What the job has returned, or `failure_fields` of its error.
        done_at: When the job ended, in the format of ISO 8601; None while it runs.
    """
    return orjson.dumps(
        {
            "status": status,
            "result": result,
            "traceback": None,
            "children": [],
            "date_done": done_at,
            "task_id": job_id,
        }
    )


def failure_fields(error: Exception) -> dict[str, object]:
    """Return the class and the message of an exception, as Celery writes them as JSON: no pickle,
    and no traceback. `failure_in` reads them."""
    kind = type(error)
    return {
        "exc_type": kind.__qualname__,
        "exc_message": [str(error)],
        "exc_module": kind.__module__,
    }


def parse_document(job_id: str, raw: bytes) -> dict[str, Any]:
    """Parse a stored document.

    Raises:
        JobFailed: It is not a document of Celery.
    """
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("status"), str):
        raise JobFailed(f"job {job_id} has no Celery result document", job_id, "not_a_result")
    return document


def is_final(document: dict[str, Any]) -> bool:
    """Return whether the job has ended."""
    state = RESULT_STATES.get(document["status"])
    return state is not None and state.is_final


def status_of(document: dict[str, Any]) -> JobStatus:
    """Return the status of the job."""
    if _has_expired(document):
        return JobStatus.FAILED
    state = RESULT_STATES.get(document["status"])
    return JobStatus.RUNNING if state is None else state.status


def due_ms_of(document: dict[str, Any]) -> int | None:
    """Return when a job is due, in Unix milliseconds; None if it was sent to be run at once, or a
    worker has started it."""
    due_ms = document.get("due_ms") if document["status"] == "PENDING" else None
    return due_ms if type(due_ms) is int and 0 <= due_ms <= _LATEST_MS else None


def outcome_of(job_id: str, document: dict[str, Any], keyring: Keyring | None = None) -> JobOutcome:
    """Return the outcome of a job that has ended.

    Args:
        job_id: The job's id.
        document: Its document.
        keyring: Decrypts outcomes that the worker has encrypted.

    Raises:
        JobExpired, JobCancelled, JobFailed: It ended without an outcome, or with one that cannot
            be decrypted here.
    """
    result = document.get("result")
    if document["status"] == "SUCCESS":
        if isinstance(result, dict) and SEALED_FIELD in result:
            result = _decrypted(job_id, result[SEALED_FIELD], keyring)
        try:
            return JobOutcome.model_validate(result)
        except ValidationError as error:
            raise JobFailed(
                f"job {job_id} was answered by something that is not a sentq worker: "
                f"{error.error_count()} fields do not fit",
                job_id,
                "not_an_outcome",
            ) from None
    if _has_expired(document):
        raise JobExpired(f"job {job_id} was not run before it expired", job_id)
    if document["status"] == "REVOKED":
        raise JobCancelled(f"job {job_id} was cancelled", job_id)
    code, message = failure_in(result)
    raise JobFailed(f"job {job_id} failed: {code}: {message}", job_id, code)


def _decrypted(job_id: str, sealed: object, keyring: Keyring | None) -> object:
    if keyring is None:
        raise _not_decrypted(job_id, "it is encrypted, and this client has no encryption_keys")
    try:
        return keyring.open(sealed, Purpose.RESULT, job_id)
    except Undecryptable as error:
        raise _not_decrypted(job_id, str(error)) from None


def _not_decrypted(job_id: str, reason: str) -> JobFailed:
    message = f"job {job_id} has an outcome that cannot be decrypted here: {reason}"
    return JobFailed(message, job_id, Undecryptable.__name__)


def _has_expired(document: dict[str, Any]) -> bool:
    """Return whether Celery revoked the job because no worker had run it in time."""
    return document["status"] == "REVOKED" and "expired" in failure_in(document.get("result"))[1]


def failure_in(result: object) -> tuple[str, str]:
    """Return the class name and the message of an exception that Celery wrote as JSON."""
    if not isinstance(result, dict):
        return "unknown", "no reason given"
    message = result.get("exc_message")
    if isinstance(message, list):
        message = ", ".join(map(str, message))
    return str(result.get("exc_type", "unknown")), str(message)
