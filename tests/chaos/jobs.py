"""The jobs of a run: the texts of a job follow from its name."""

from __future__ import annotations

__all__ = ["texts_of"]


def texts_of(name: str) -> list[str]:
    """Return the one to three texts of a job, each of which begins with the job's name."""
    return [f"{name} text {place}" for place in range(1 + int(name.rpartition("-")[2]) % 3)]
