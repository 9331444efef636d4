"""What a webhook says: the message that a worker published, and the body of the request.

    [{"job_id": …, "outcome": {…}, "error": null}, {"url": …, "outcomes": false, "owner": ""}]
      ──▶ {"type": "job.done", "timestamp": "…", "data": {"job_id": …, "state": "done", …}}

A body has ids, counts and, on request, labels and scores. It never has a text of a job.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from sentq.contract import SEALED_FIELD, JobOutcome, JobStatus, Prediction
from sentq.errors import Undecryptable
from sentq.results.batch import BatchProgress
from sentq.wire.batches import is_batch_id
from sentq.wire.scheduled import moment
from sentq.wire.sealing import Keyring, Purpose

__all__ = ["Notice", "UnreadableMessage", "batch_body", "job_body", "read_notice"]

#: A larger body has no outcomes. The specification recommends less than 20 kB.
_MAX_BODY_BYTES: Final = 64 * 1024

_MAX_ID_CHARS: Final = 255


class UnreadableMessage(ValueError):
    """The message is not that of a webhook. The reason quotes nothing of it."""


class _Options(BaseModel):
    """What the sender asked for."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    url: str
    outcomes: bool = False
    owner: str = ""


class _JobEnd(BaseModel):
    """How a job ended, as its worker wrote it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    job_id: str
    outcome: dict[str, Any] | None = None
    error: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A webhook to be sent.

    Attributes:
        url: Where to.
        owner: Whose secret signs it.
        wants_outcomes: Whether the body has the outcomes of the job.
        subject_id: The id of the job or the batch.
        job: How the job ended; None if it is about a batch.
    """

    url: str
    owner: str
    wants_outcomes: bool
    subject_id: str
    job: _JobEnd | None


def read_notice(message: bytes) -> Notice:
    """Read the message of a webhook, in kombu's envelope.

    Raises:
        UnreadableMessage: It is another one.
    """
    try:
        body = base64.b64decode(orjson.loads(message)["body"])
        (about, options, *_), *_ = orjson.loads(body)
        asked = _Options.model_validate(options)
        job = None if isinstance(about, str) else _JobEnd.model_validate(about)
    except (ValueError, TypeError, LookupError, ValidationError):
        raise UnreadableMessage("not the message of a webhook") from None
    subject_id = about if job is None else job.job_id
    if not (is_batch_id(subject_id) if job is None else 0 < len(subject_id) <= _MAX_ID_CHARS):
        raise UnreadableMessage("the message names no job and no batch")
    return Notice(asked.url, asked.owner, asked.outcomes, subject_id, job)


def job_body(notice: Notice, at_ms: int, keyring: Keyring | None = None) -> bytes:
    """Return the body of a webhook about a job.

    Args:
        notice: The webhook.
        at_ms: When the end of the job became known, in Unix milliseconds.
        keyring: Decrypts an outcome that the worker has encrypted. Without it the body has no
            counts.
    """
    end = notice.job
    if end is None:
        raise TypeError("the webhook is about a batch")
    state = JobStatus.FAILED if end.outcome is None else JobStatus.DONE
    data: dict[str, object] = {"job_id": end.job_id, "state": state, "error": end.error}
    outcome = _outcome_of(end, keyring)
    if outcome is not None:
        scored = sum(isinstance(each, Prediction) for each in outcome.outcomes)
        data |= {
            "texts": len(outcome.outcomes),
            "scored": scored,
            "failed": len(outcome.outcomes) - scored,
            "model": outcome.model,
            "revision": outcome.revision,
        }
    if notice.wants_outcomes:
        outcomes = None if outcome is None else outcome.model_dump(mode="json")["outcomes"]
        body = _body(f"job.{state}", at_ms, data | {"outcomes": outcomes})
        if len(body) <= _MAX_BODY_BYTES:
            return body
        data["outcomes"] = None
    return _body(f"job.{state}", at_ms, data)


def batch_body(batch_id: str, progress: BatchProgress | None, at_ms: int) -> bytes:
    """Return the body of a webhook about a batch that is complete.

    Args:
        batch_id: The id of the batch.
        progress: Its counts; None if Redis keeps them no longer.
        at_ms: When it became known, in Unix milliseconds.
    """
    data: dict[str, object] = {"batch_id": batch_id, "state": "complete"}
    if progress is not None:
        data |= progress.model_dump(include={"total", "done", "failed", "cancelled"})
    return _body("batch.complete", at_ms, data)


def _outcome_of(end: _JobEnd, keyring: Keyring | None) -> JobOutcome | None:
    """Return the outcome; None without one that can be read. What is not in the contract is left
    out."""
    outcome: object = end.outcome
    try:
        if isinstance(outcome, dict) and SEALED_FIELD in outcome:
            if keyring is None:
                return None
            outcome = keyring.open(outcome[SEALED_FIELD], Purpose.RESULT, end.job_id)
        return None if outcome is None else JobOutcome.model_validate(outcome)
    except (ValidationError, Undecryptable):
        return None


def _body(kind: str, at_ms: int, data: Mapping[str, object]) -> bytes:
    at = moment(at_ms).isoformat(timespec="milliseconds")
    return orjson.dumps({"type": kind, "timestamp": at.replace("+00:00", "Z"), "data": data})
