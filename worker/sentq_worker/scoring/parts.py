"""Texts of which the parts are scored, too, and their parts as strings of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias, TypeGuard

from sentq.contract import Detail
from sentq_worker.scoring.segments import find_spans

__all__ = [
    "DetailedText",
    "FoundPart",
    "Places",
    "find_parts",
    "is_in_windows",
    "is_text",
    "text_chars",
    "texts_of",
    "with_detail",
]

#: Returns where the characters from one place to another one of what is read of a text stood in the
#: text as it was sent.
Places: TypeAlias = Callable[[int, int], tuple[int, int]]


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
    detail = job.detail
    return job.texts if detail is None else with_detail(job.texts, detail)


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
    readable: str, detail: Detail, original: Places, *, language: str | None
) -> list[FoundPart]:
    """Return the sentences or paragraphs of a text, in order; at least one.

    Args:
        readable: What is read of the text.
        detail: Which parts.
        original: Where they stood in the text as it was sent.
        language: The code of its language; None if it is not known.
    """
    spans = find_spans(readable, detail, language=language)
    return [FoundPart(readable[start:end], *original(start, end)) for start, end in spans]
