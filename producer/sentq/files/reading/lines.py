"""The lines of a file as text: its encoding, lines that are too long, and bytes that are no text.

A byte that is not valid in the encoding becomes one lone surrogate, U+DC00 and the byte. So the
line, and the other cells of its row, can be used, and written again as they were; a text with such
a character cannot be scored, and `bad_byte` says where it is.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self, cast

from sentq.files.formats import FileProblem

__all__ = [
    "ESCAPE",
    "MAX_ROW_CHARS",
    "TextLine",
    "TextLines",
    "bad_byte",
    "check_encoding",
    "has_bad_byte",
]

#: Most characters of a line, or of a row of several lines. It bounds the memory.
MAX_ROW_CHARS: Final = 16 * 1024 * 1024

#: The handler of errors: see above. For UTF-8 it does what Python's surrogateescape does.
ESCAPE: Final = "sentq.escape"

_ESCAPED: Final = re.compile("[\udc00-\udcff]")

#: Byte order marks, the longest first: UTF-32's begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in wrong), error.end


codecs.register_error(ESCAPE, _escape)


class TextLine(NamedTuple):
    """A line with its line end.

    Attributes:
        text: The line; the beginning of one that is too long.
        is_cut: Whether it has more than the permitted characters.
    """

    text: str
    is_cut: bool


def check_encoding(name: str) -> str:
    """Return an encoding's name.

    Raises:
        FileProblem: There is no such encoding of texts.
    """
    try:
        "".encode(name)
    except (LookupError, ValueError):  # Also a codec of bytes, such as hex.
        raise FileProblem(
            f"there is no encoding {name!r}: utf-8, utf-16, latin-1 and windows-1252 are some"
        ) from None
    return name


class TextLines:
    """Yields the lines of a stream, each of them bounded. Used in a `with` block.

    Args:
        stream: The bytes, as `open_bytes` yields them. They are closed with the lines.
        encoding: Its encoding; None for UTF-8, or what a byte order mark says.
        ends: What ends a line: "any" for all of \\n, \\r and \\r\\n, or "\\n" alone.
        max_chars: Most characters of a line.
        head_bytes: How many of the first bytes are kept as `head`.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        encoding: str | None = None,
        ends: str = "any",
        max_chars: int = MAX_ROW_CHARS,
        head_bytes: int = 16,
    ) -> None:
        self.head = cast("io.BufferedReader", stream).peek(head_bytes)[:head_bytes]
        self.encoding = encoding or _marked(self.head)
        self._max_chars = max_chars
        self._wrapper = io.TextIOWrapper(
            stream,
            encoding=_with_mark(self.encoding),
            errors=ESCAPE,
            newline="" if ends == "any" else ends,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._wrapper.close()

    def __iter__(self) -> Iterator[TextLine]:
        read, limit = self._wrapper.readline, self._max_chars
        while line := read(limit):
            is_cut = len(line) == limit and line[-1] not in "\r\n"
            yield TextLine(line, is_cut)
            while is_cut and (rest := read(limit)):
                is_cut = rest[-1] not in "\r\n"


def bad_byte(text: str, encoding: str, *, first_line: int) -> str | None:
    """Return where a row has a byte that is not valid, for its error; None if it has none.

    Args:
        text: The whole row.
        encoding: The encoding by which it was read.
        first_line: The number of its first line.
    """
    found = None if text.isascii() else _ESCAPED.search(text)
    if found is None:
        return None
    before = text[: found.start()]
    lines = before.splitlines() if before[-1:] not in ("\r", "\n") else [*before.splitlines(), ""]
    line = lines[-1] if lines else ""
    number = first_line + max(0, len(lines) - 1)
    place = len(line.encode(_without_mark(encoding), "replace")) + 1
    byte = ord(found.group()) - 0xDC00
    return f"byte {place} of line {number}, 0x{byte:02X}, is not {encoding.upper()}"


def has_bad_byte(text: str) -> bool:
    """Return whether a part of a row has a byte that is not valid."""
    return not text.isascii() and _ESCAPED.search(text) is not None


def _marked(head: bytes) -> str:
    return next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")


def _with_mark(encoding: str) -> str:
    """Return an encoding that skips the mark of UTF-8 if there is one."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _without_mark(encoding: str) -> str:
    """Return an encoding that writes no mark."""
    name = codecs.lookup(encoding).name
    return {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}.get(name, encoding)
