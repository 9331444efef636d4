"""What `sentq doctor` finds: one finding for each check, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import redis
from pydantic import BaseModel, ConfigDict

__all__ = ["DoctorFinding", "Level", "ok", "problem", "unknown", "unless_refused", "warning"]


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    #: It works, and may not for long, or not as well as it could.
    WARNING = "warning"
    #: Something does not work, or a promise of sentq does not hold.
    PROBLEM = "problem"
    #: It could not be checked.
    UNKNOWN = "unknown"


class DoctorFinding(BaseModel):
    """The result of one check.

    Attributes:
        check: What was checked.
        level: How it ended.
        message: What was found. No secret and no text.
        advice: What to do about it, None if nothing.
    """

    model_config = ConfigDict(frozen=True)

    check: str
    level: Level
    message: str
    advice: str | None = None


def ok(check: str, message: str) -> DoctorFinding:
    """Return the finding of a check that found nothing wrong."""
    return DoctorFinding(check=check, level=Level.OK, message=message)


def warning(check: str, message: str, advice: str) -> DoctorFinding:
    """Return a finding that an operator should know."""
    return DoctorFinding(check=check, level=Level.WARNING, message=message, advice=advice)


def problem(check: str, message: str, advice: str) -> DoctorFinding:
    """Return a finding that must be mended."""
    return DoctorFinding(check=check, level=Level.PROBLEM, message=message, advice=advice)


def unknown(check: str, message: str, advice: str | None = None) -> DoctorFinding:
    """Return the finding of a check that could not be made."""
    return DoctorFinding(check=check, level=Level.UNKNOWN, message=message, advice=advice)


def unless_refused(check: str, run: Callable[[], list[DoctorFinding]]) -> list[DoctorFinding]:
    """Run a check; if Redis refuses a command to this user, return that it is not known.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    try:
        return run()
    except redis.exceptions.NoPermissionError:
        return [
            unknown(
                check,
                "this Redis user may not ask for it",
                "run `sentq doctor` once with the user of an administrator",
            )
        ]
