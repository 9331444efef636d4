"""What a case of the corpus is, and the ways in which one can end."""

from __future__ import annotations

from dataclasses import dataclass

from sentq.contract import ErrorCode

__all__ = ["CANARY", "Buried", "Case", "Ending", "Failed", "Revoked", "Scored", "Unsaid"]

#: Stands in all texts, and wherever else a sender may have put one. Must be seen nowhere.
CANARY = "CANARYb2d8"


@dataclass(frozen=True)
class Scored:
    """A success: an outcome a text. None is a prediction."""

    codes: tuple[ErrorCode | None, ...] = (None,)


@dataclass(frozen=True)
class Failed:
    """The job ends in this error."""

    error: type[Exception]


@dataclass(frozen=True)
class Revoked:
    """The job was not scored, for nobody wants it any more."""


@dataclass(frozen=True)
class Unsaid:
    """The job is done, and its sender wanted no result."""


@dataclass(frozen=True)
class Buried:
    """A dead letter whose reason says this. Whoever waits for the job is told, if there is a way
    to tell which job it was."""

    reason: str


Ending = Scored | Failed | Revoked | Unsaid | Buried


@dataclass(frozen=True)
class Case:
    """Something that may lie in a queue."""

    name: str
    raw: bytes
    ending: Ending
