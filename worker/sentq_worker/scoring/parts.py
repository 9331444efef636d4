"""Texts of which the parts are scored, too, and their parts as strings of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeGuard

from sentq.contract import Detail
from sentq_worker.scoring.markdown import without_markup
from sentq_worker.scoring.segments import find_spans
from sentq_worker.settings import Cleaning

__all__ = [
    "DetailedText",
    "FoundPart",
    "find_parts",
    "is_in_windows",
    "is_text",
    "text_chars",
    "texts_of",
    "with_detail",
]


@dataclass(frozen=True, slots=True)
class DetailedText:
    """A text of which the parts are scored, too. It stands in the place of the text."""

    text: str
    detail: Detail


class FoundPart(NamedTuple):
    """A part of a text: what is read of it, and where it stands in the text as it was sent."""

    text: str
    start: int
    end: int


class _DetailedJob(Protocol):
    @property
    def texts(self) -> Sequence[object]: ...

    @property
    def detail(self) -> Detail | None: ...


def texts_of(job: _DetailedJob) -> Sequence[object]:
    """Return the texts of a job, as a scorer takes them."""
    return with_detail(job.texts, job.detail)


def with_detail(texts: Sequence[object], detail: Detail | None) -> Sequence[object]:
    """Return texts, as a scorer takes them, of which these parts are scored, too."""
    if detail is None:
        return texts
    return [DetailedText(text, detail) if isinstance(text, str) else text for text in texts]


def is_text(text: object) -> bool:
    """Return whether something is a text, with or without parts."""
    return isinstance(text, (str, DetailedText))


def is_in_windows(text: object) -> TypeGuard[DetailedText]:
    """Return whether the parts of a text are the windows in which a model reads it."""
    return isinstance(text, DetailedText) and text.detail == "windows"


def text_chars(text: object) -> int:
    """Return how many characters are read for a text: twice as many if its parts are scored."""
    if isinstance(text, str):
        return len(text)
    return 2 * len(text.text) if isinstance(text, DetailedText) else 0


def find_parts(
    text: DetailedText, readable: str, *, clean: Cleaning, language: str | None
) -> list[FoundPart]:
    """Return the parts of a text, in order; at least one.

    Args:
        text: The text as it was sent.
        readable: What is read of it.
        clean: What was left out.
        language: The code of its language; None if it is not known.
    """
    spans = find_spans(readable, text.detail, language=language)
    if clean == "none":
        return [FoundPart(readable[start:end], start, end) for start, end in spans]
    original = without_markup(text.text, clean).original
    return [FoundPart(readable[start:end], *original(start, end)) for start, end in spans]
