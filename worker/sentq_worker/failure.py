"""Why a job has no outcomes: what the worker says of itself, and never of a text."""

from __future__ import annotations

from typing import Self

__all__ = ["ScoringFailed"]


class ScoringFailed(Exception):
    """The worker failed on the whole round. Never quotes what it failed on."""

    @classmethod
    def by(cls, error: BaseException) -> Self:
        """Names the class of the error alone: its message might quote a text."""
        return cls(f"the worker failed with {type(error).__name__}")
