"""The jobs of a run: each has a name, and its texts follow from that."""

from __future__ import annotations

__all__ = ["texts_of"]


def texts_of(name: str) -> list[str]:
    """The texts of a job: one to three, each of which begins with the job's name."""
    return [f"{name} text {place}" for place in range(1 + int(name.rpartition("-")[2]) % 3)]
