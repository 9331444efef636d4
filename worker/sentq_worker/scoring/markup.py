"""Texts without their HTML, and where each character of the rest stood.

    <p>Fish &amp; chips: <b>un</b>believable.<br>Twice!</p>
    ⏎Fish & chips: unbelievable.⏎Twice!⏎

The tag of a block or of a line break becomes a line break, so that words on its two sides stay
apart; any other tag becomes nothing. Comments, scripts, styles and templates are left out, and
character references are read. A `<` that begins no tag is a character like any other: I <3 this.

It takes time in proportion to the length, also for input that was written to be slow. The parser of
the standard library takes the square (a minute for 100,000 characters of "<a "), and lxml and
selectolax do not say where a character stood.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = ["CleanText", "Piece", "joined", "without_html"]

#: Tags that begin or end a line, as browsers show them; a cell of a table counts, too.
_BREAKS: Final = frozenset(
    {
        *("address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd"),
        *("details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure"),
        *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html"),
        *("legend", "li", "main", "menu", "nav", "ol", "optgroup", "option", "p", "pre", "search"),
        *("section", "select", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "title"),
        *("tr", "ul"),
    }
)

#: Elements whose content is not text of the page.
_HIDDEN: Final = frozenset({"script", "style", "template", "noscript", "iframe", "noframes"})

#: What may be markup: a tag, a comment or declaration, a character reference.
_MARKUP: Final = re.compile(r"</?[a-zA-Z]|<[!?]|&[#a-zA-Z]")

#: A name that is longer has no meaning here. Without a bound, "<a<a<a" is one name, and again.
_TAG_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{0,31}")

#: The rest of a tag. Neither part can match what another one does, and nothing is tried twice.
_TAG_REST: Final = re.compile(r"""(?>[^>"']+|"[^"]*"|'[^']*')*+>""")

#: The longest name has 31 characters. Python reads a number of thousands of digits slowly.
_REFERENCE: Final = re.compile(
    r"&(?:#[0-9]{1,16};?|#[xX][0-9a-fA-F]{1,16};?|[a-zA-Z][a-zA-Z0-9]{0,31};?)"
)

_COMMENT: Final = "<!--"


class Piece(NamedTuple):
    """A part of the original, and what it has become."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class CleanText:
    """A text without markup.

    Attributes:
        text: The text.
        starts: Where each piece of it begins; ascending.
        originals: Where each piece stood: its beginning and end. A piece of as many characters was
            taken over as it is; any other one stands for a tag or a character reference.
    """

    text: str
    starts: tuple[int, ...]
    originals: tuple[tuple[int, int], ...]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return where the characters from `start` to `end` stood in the original.

        The span covers them, with the markup between them and none around them.
        """
        if start >= end:
            found = self._span(start)[0] if start < len(self.text) else self._span(start - 1)[1]
            return found, found
        return self._span(start)[0], self._span(end - 1)[1]

    def _span(self, index: int) -> tuple[int, int]:
        """Return where one character stood."""
        if not self.starts or index < 0:
            return 0, 0
        number = bisect_right(self.starts, index) - 1
        start, end = self.originals[number]
        begin = self.starts[number]
        following = self.starts[number + 1] if number + 1 < len(self.starts) else len(self.text)
        if end - start != following - begin:
            return start, end
        return start + index - begin, start + index - begin + 1


def without_html(text: str) -> CleanText:
    """Return a text without HTML; never longer than the original."""
    return joined(_Reader(text).pieces())


def joined(pieces: Iterable[Piece]) -> CleanText:
    """Return the text of pieces, in order."""
    parts: list[str] = []
    starts: list[int] = []
    originals: list[tuple[int, int]] = []
    length = 0
    for piece in pieces:
        if piece.text:
            parts.append(piece.text)
            starts.append(length)
            originals.append((piece.start, piece.end))
            length += len(piece.text)
    return CleanText("".join(parts), tuple(starts), tuple(originals))


class _Reader:
    """Reads one text from its beginning to its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        #: A tag with an open quote was met, or one without an end: neither is sought again.
        self._ignores_quotes = False
        self._has_no_more_ends = False

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces that stay, in order."""
        text = self._text
        done = at = 0
        while found := _MARKUP.search(text, at):
            start = found.start()
            read = self._reference(start) if text[start] == "&" else self._tag(start)
            if read is None:
                at = start + 1  # A character like any other.
                continue
            if start > done:
                yield Piece(text[done:start], done, start)
            yield read
            done = at = read.end
        if done < len(text):
            yield Piece(text[done:], done, len(text))

    def _reference(self, start: int) -> Piece | None:
        found = _REFERENCE.match(self._text, start)
        if found is None:
            return None
        meaning = html.unescape(found[0])
        return None if meaning == found[0] else Piece(meaning, start, found.end())

    def _tag(self, start: int) -> Piece | None:
        """Return what stands for a tag or a comment; None if it has no end, and is text."""
        text = self._text
        if text.startswith(_COMMENT, start):
            end = text.find("-->", start + 2)
            return Piece("", start, len(text) if end < 0 else end + 3)
        name = _TAG_NAME.match(text, start + (2 if text[start + 1] == "/" else 1))
        end = self._tag_end(name.end() if name else start)
        if end < 0:
            return None
        if name is None:
            return Piece("", start, end)
        tag = name[0].lower()
        if tag in _HIDDEN and text[start + 1] != "/" and text[end - 2] != "/":
            return Piece("", start, self._hidden_end(tag, end))
        return Piece("\n" if tag in _BREAKS else "", start, end)

    def _tag_end(self, start: int) -> int:
        """Return where a tag ends whose name or declaration has been read; -1 if nowhere."""
        if not (self._ignores_quotes or self._has_no_more_ends):
            if found := _TAG_REST.match(self._text, start):
                return found.end()
            self._ignores_quotes = True
        end = -1 if self._has_no_more_ends else self._text.find(">", start)
        self._has_no_more_ends = end < 0
        return end if end < 0 else end + 1

    def _hidden_end(self, tag: str, start: int) -> int:
        """Return where the content of an element begins to end: at its end tag."""
        found = re.compile(rf"</{tag}(?=[\s/>])", re.IGNORECASE).search(self._text, start)
        return found.start() if found else len(self._text)
