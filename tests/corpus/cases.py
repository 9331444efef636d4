"""What a case of the corpus is, and the ways in which one can end."""

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

#: Stands in all texts, and wherever else a sender may have put one. Must be seen nowhere.
CANARY = "CANARYb2d8"


@dataclass(frozen=True)
class ExpectScored:
    """A success: an outcome a text. None is a prediction."""

    codes: tuple[ErrorCode | None, ...] = (None,)


@dataclass(frozen=True)
class ExpectFailed:
    """The job ends in this error."""

    error: type[Exception]


@dataclass(frozen=True)
class ExpectRevoked:
    """The job was not scored, for nobody wants it any more."""


@dataclass(frozen=True)
class ExpectNothing:
    """The job is done, and its sender wanted no result."""


@dataclass(frozen=True)
class ExpectDeadLetter:
    """A dead letter whose reason says this. Whoever waits for the job is told, if there is a way
    to tell which job it was."""

    reason: str


ExpectedResult = ExpectScored | ExpectFailed | ExpectRevoked | ExpectNothing | ExpectDeadLetter


@dataclass(frozen=True)
class CorpusCase:
    """Something that may lie in a queue."""

    name: str
    raw: bytes
    ending: ExpectedResult
