"""The sentences and paragraphs of a text: where each begins and ends.

Sentences are found by sentencex (Wikimedia), which knows abbreviations of 300 languages. Its time
grows with the length alone, also for input that was written to be slow, and it is a hundred times
as fast as a pure Python segmenter (`python -m benchmarks.parts` compares them). A line break is no
end of a sentence for it, because lines may be wrapped; here it is one after a short line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sentq.contract import MAX_PARTS_PER_TEXT, Detail

__all__ = ["Span", "find_spans"]

#: A line that is shorter was not wrapped: what follows it begins anew.
_MIN_WRAPPED_CHARS: Final = 45

#: A blank line. The possessive quantifiers keep it from trying anything twice.
_BLANK_LINE: Final = re.compile(r"\n[^\S\n]*+\n\s*+")

#: Emojis and the like, each with whitespace after it.
_WORDLESS: Final = re.compile(r"(?:[^\w\s]++\s++)++")

_LETTER_OR_DIGIT: Final = re.compile(r"[^\W_]")

#: The rules of English, where the language of a text is not known.
_DEFAULT_LANGUAGE: Final = "en"


class Span(NamedTuple):
    """Where a part of a text begins and ends, in characters."""

    start: int
    end: int


def find_spans(text: str, detail: Detail, *, language: str | None = None) -> list[Span]:
    """Return the sentences or paragraphs of a text, in order, without the whitespace around them.

    A part has a letter or a digit: what has none, such as an emoji, belongs to the part before it
    in the same line.
    All characters but whitespace are in a part.

    Args:
        text: A text with at least one character that is not whitespace.
        detail: Which parts. A paragraph ends at a blank line; if the text has none, at each line
            break.
        language: The code of its language; None if it is not known.

    Returns:
        At least one, and at most `MAX_PARTS_PER_TEXT`: of more, neighbours are joined.
    """
    if detail == "paragraphs":
        pieces = _paragraphs(text)
    else:
        pieces = _sentences(text, language or _DEFAULT_LANGUAGE)
    return _at_most(_with_words(text, _trimmed(text, pieces)), MAX_PARTS_PER_TEXT)


def _sentences(text: str, language: str) -> Iterator[Span]:
    # A worker that scores no parts does not load it.
    from sentencex import get_sentence_boundaries

    for found in get_sentence_boundaries(language, text):
        yield from _lines(text, Span(found["start_index"], found["end_index"]))


def _lines(text: str, sentence: Span) -> Iterator[Span]:
    """Cut what was taken for a sentence after each short line."""
    start = line = sentence.start
    while (end := text.find("\n", line, sentence.end)) >= 0:
        if end - line < _MIN_WRAPPED_CHARS:
            yield Span(start, end)
            start = end + 1
        line = end + 1
    yield Span(start, sentence.end)


def _paragraphs(text: str) -> Iterator[Span]:
    breaks = [found.span() for found in _BLANK_LINE.finditer(text.strip())]
    offset = len(text) - len(text.lstrip())
    if not breaks:
        breaks, offset = [found.span() for found in re.finditer(r"\n", text)], 0
    start = 0
    for first, last in breaks:
        yield Span(start, first + offset)
        start = last + offset
    yield Span(start, len(text))


def _trimmed(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    for start, end in spans:
        piece = text[start:end]
        words = piece.strip()
        if words:
            first = start + len(piece) - len(piece.lstrip())
            yield Span(first, first + len(words))


def _with_words(text: str, spans: Iterable[Span]) -> list[Span]:
    """Join each span without a letter or digit to that before it, or the first to the next one. So
    is what a span begins with, if that before it stands in the same line."""
    found: list[Span] = []
    pending: int | None = None
    for first, end in spans:
        start = first
        if found and "\n" not in text[found[-1].end : start]:
            wordless = _WORDLESS.match(text, start, end)
            if wordless:
                found[-1] = Span(found[-1].start, start + len(wordless[0].rstrip()))
                start = wordless.end()
        if not _LETTER_OR_DIGIT.search(text, start, end):
            if found:
                found[-1] = Span(found[-1].start, end)
            elif pending is None:
                pending = start
            continue
        found.append(Span(start if pending is None else pending, end))
        pending = None
    return found or [Span(0 if pending is None else pending, len(text.rstrip()))]


def _at_most(spans: list[Span], limit: int) -> list[Span]:
    """Join neighbours, so many each time that at most `limit` are left."""
    if len(spans) <= limit:
        return spans
    size = -(-len(spans) // limit)
    groups = (spans[first : first + size] for first in range(0, len(spans), size))
    return [Span(group[0].start, group[-1].end) for group in groups]
