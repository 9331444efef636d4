"""Texts without their Markdown, and where each character of the rest stood.

    # Not *bad*            Not bad
    > [Best](http://a) in  Best in
    > town<br>&amp; more   town
                           & more

Headings, quotes, lists, emphasis and links become their words; blocks of code and rules are left
out. Markdown may hold HTML, which is left out next. It takes time in proportion to the length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from sentq_worker.scoring.markup import CleanText, Piece, joined, without_html
from sentq_worker.settings import Cleaning

__all__ = ["Cleaned", "without_markdown", "without_markup"]

#: A block of code between fences, to the end of the text if it is not closed.
_FENCE: Final = re.compile(r"[ ]{0,3}(```|~~~)[^\n]*\n?")

#: A rule, or the line under a heading.
_RULE: Final = re.compile(r"[ ]{0,3}(?:(?:\*[ \t]*+){3,}|(?:-[ \t]*+){3,}|(?:_[ \t]*+){3,}|=+)$")

#: What a line of a quote, a heading or a list begins with.
_LINE_BEGIN: Final = re.compile(r"(?:[ \t]*+(?:>|#{1,6}(?=[ \t])|[-*+](?=[ \t])))++[ \t]*+")

#: What stands in a line: a link or an image, an escaped character, emphasis, code.
_INLINE: Final = re.compile(
    r"!?\[(?P<words>[^\[\]\n]{0,500})\]\([^()\n]{0,1000}\)"
    r"|\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?:\*{1,3}|~~|`+)"
    r"|(?<!\w)_{1,3}(?=\w)|(?<=\w)_{1,3}(?!\w)"
)

#: An asterisk between spaces or numbers is no emphasis: 3 * 4.
_NO_EMPHASIS: Final = re.compile(r"(?<![^\s\d])\*(?![^\s\d])")


class Cleaned(Protocol):
    """A text without markup."""

    @property
    def text(self) -> str: ...

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return where the characters from `start` to `end` stood in the original."""
        ...


@dataclass(frozen=True, slots=True)
class _Twice:
    """A text that was cleaned twice, first of Markdown."""

    markdown: CleanText
    html: CleanText

    @property
    def text(self) -> str:
        return self.html.text

    def original(self, start: int, end: int) -> tuple[int, int]:
        return self.markdown.original(*self.html.original(start, end))


def without_markup(text: str, clean: Cleaning) -> Cleaned:
    """Return a text without what is to be left out."""
    return without_markdown(text) if clean == "markdown" else without_html(text)


def without_markdown(text: str) -> Cleaned:
    """Return a text without Markdown and HTML; never longer than the original."""
    plain = joined(_pieces(text))
    return _Twice(plain, without_html(plain.text))


def _pieces(text: str) -> Iterator[Piece]:
    """Yield what stays, line by line."""
    start, fence = 0, ""
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        mark = _FENCE.match(text, start, end)
        if fence:
            fence = "" if mark and mark[1] == fence else fence
        elif mark:
            fence = mark[1]
        elif not _RULE.match(text, start, end):
            begin = _LINE_BEGIN.match(text, start, end)
            yield from _inline(text, begin.end() if begin else start, end)
        if end < len(text):
            yield Piece("\n", end, end + 1)
        start = end + 1


def _inline(text: str, start: int, end: int) -> Iterator[Piece]:
    """Yield what stays of a line, or of the words of a link."""
    done = start
    for found in _INLINE.finditer(text, start, end):
        first, last = found.span()
        if found[0] == "*" and _NO_EMPHASIS.match(text, first, end):
            continue
        if first > done:
            yield Piece(text[done:first], done, first)
        if found["words"] is not None:
            yield from _inline(text, *found.span("words"))
        elif found["escaped"] is not None:
            yield Piece(text[last - 1], last - 1, last)
        done = last
    if end > done:
        yield Piece(text[done:end], done, end)
