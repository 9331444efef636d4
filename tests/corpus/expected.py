"""What a case of the corpus is, and the results that it can have."""

from __future__ import annotations

from dataclasses import dataclass

from sentq.contract import ErrorCode

__all__ = [
    "CANARY",
    "CorpusCase",
    "ExpectDeadLetter",
    "ExpectFailed",
    "ExpectNothing",
    "ExpectRevoked",
    "ExpectScored",
    "ExpectedResult",
]

#: In all texts, and wherever a client can put one. No output may contain it.
CANARY = "CANARYb2d8"


@dataclass(frozen=True)
class ExpectScored:
    """The job succeeds with an outcome per text: an error code, or None for a prediction."""

    codes: tuple[ErrorCode | None, ...] = (None,)


@dataclass(frozen=True)
class ExpectFailed:
    """The job fails with this error."""

    error: type[Exception]


@dataclass(frozen=True)
class ExpectRevoked:
    """The job is revoked and not scored."""


@dataclass(frozen=True)
class ExpectNothing:
    """The job is scored, and its client requested no result."""


@dataclass(frozen=True)
class ExpectDeadLetter:
    """The message becomes a dead letter whose reason contains this.

    The waiting client gets an error if the message has a readable job id.
    """

    reason: str


ExpectedResult = ExpectScored | ExpectFailed | ExpectRevoked | ExpectNothing | ExpectDeadLetter


@dataclass(frozen=True)
class CorpusCase:
    """An entry of a queue, and its expected result."""

    name: str
    raw: bytes
    expected: ExpectedResult
