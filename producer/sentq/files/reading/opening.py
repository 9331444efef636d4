"""Files opened as bytes, without their compression; what their first bytes say; their digests."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from sentq.files.formats import (
    STANDARD_INPUT,
    Compression,
    FileProblem,
    require_pyarrow,
)

__all__ = [
    "DAMAGED",
    "OpenedFile",
    "check_content",
    "damage_of",
    "digest_of",
    "is_regular_file",
    "open_bytes",
    "open_file",
    "open_seekable",
]

#: What reading a damaged file may raise.
DAMAGED: Final = (OSError, EOFError, zlib.error)

#: The first bytes of files whose name may be wrong: what it is, and what to do about it.
_MAGIC: Final = {
    b"PAR1": ("a Parquet file", "--format parquet reads it"),
    b"\x1f\x8b": ("compressed with gzip", "give it a name that ends in .gz"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "give it a name that ends in .zst"),
    b"PK\x03\x04": ("a ZIP file, such as an Excel workbook", "save it as CSV"),
    b"BZh": ("compressed with bzip2", "decompress it first"),
    b"\xfd7zXZ": ("compressed with xz", "decompress it first"),
    b"SQLite format 3": ("a database of SQLite", "export its table as CSV"),
    b"%PDF": ("a PDF file", "extract its text first"),
}


class OpenedFile(NamedTuple):
    """An open file.

    Attributes:
        stream: Its bytes, without its compression. It has `peek`.
        read_bytes: Returns how many bytes of the file were read, with its compression.
    """

    stream: BinaryIO
    read_bytes: Callable[[], int]


@contextmanager
def open_file(source: str) -> Iterator[OpenedFile]:
    """Open a file, or standard input for `-`. One whose name ends in .gz or .zst is decompressed.

    Raises:
        FileProblem: It cannot be opened.
        MissingLibrary: zstd needs a library that is not installed.
    """
    if source == STANDARD_INPUT:
        yield OpenedFile(sys.stdin.buffer, lambda: 0)
        return
    try:
        file = open(source, "rb")  # noqa: PTH123, SIM115 - closed below
    except OSError as error:
        raise FileProblem(f"cannot read {source}: {error.strerror or error}") from error

    def read_bytes() -> int:
        return 0 if file.closed or not file.seekable() else file.tell()

    with file:
        match Compression.of(source):
            case Compression.GZIP:
                with gzip.GzipFile(fileobj=file) as stream:
                    yield OpenedFile(cast("BinaryIO", stream), read_bytes)
            case Compression.ZSTD:
                pa = require_pyarrow("zstd")
                with pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd") as stream:
                    # pyarrow's own stream has no bounded lines.
                    yield OpenedFile(cast("BinaryIO", io.BufferedReader(stream)), read_bytes)
            case _:
                yield OpenedFile(file, read_bytes)


@contextmanager
def open_bytes(source: str) -> Iterator[BinaryIO]:
    """Open a file as `open_file` does."""
    with open_file(source) as opened:
        yield opened.stream


@contextmanager
def open_seekable(source: str) -> Iterator[BinaryIO]:
    """Open a file as `open_bytes` does, at random places too.

    A pipe, or a file that is compressed as a whole, is copied to a temporary file first.
    """
    with open_bytes(source) as stream:
        is_compressed = Compression.of(source) is not Compression.NONE
        if not is_compressed and source != STANDARD_INPUT and stream.seekable():
            yield stream
            return
        with tempfile.TemporaryFile() as copy:
            try:
                shutil.copyfileobj(stream, copy, 1 << 20)
            except DAMAGED as error:
                raise FileProblem(f"cannot read {source}: {damage_of(error)}") from error
            copy.seek(0)
            yield cast("BinaryIO", copy)


def damage_of(error: BaseException) -> str:
    """Return what an error of `DAMAGED` says about the file; never its content."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "damaged zstd file" if "ZSTD" in str(error) else "damaged gzip file"


def check_content(head: bytes, name: str) -> None:
    """Refuse a file of text whose first bytes say that it is something else.

    Args:
        head: Its first bytes, decompressed.
        name: Its name, for the error.

    Raises:
        FileProblem: It is no text; the message says what to do.
    """
    for magic, (what, advice) in _MAGIC.items():
        if head.startswith(magic):
            raise FileProblem(f"{name} is {what}: {advice}")


def is_regular_file(source: str) -> bool:
    """Return whether a source can be read twice: it is no pipe and no device."""
    return source != STANDARD_INPUT and Path(source).is_file()


def digest_of(source: str) -> tuple[int, str]:
    """Return the size of a file in bytes and the SHA-256 of its bytes.

    Raises:
        FileProblem: It cannot be read.
    """
    try:
        with open(source, "rb") as file:  # noqa: PTH123
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return file.tell(), digest
    except OSError as error:
        raise FileProblem(f"cannot read {source}: {error.strerror or error}") from error
