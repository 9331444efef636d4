"""Compressed bodies, checked before they are decompressed: a few kilobytes may hold gigabytes.

Kombu decompresses a body as a whole as it makes a message of it. The check tells beforehand, in
bounded memory, whether the body would be too large.
"""

from __future__ import annotations

import binascii
import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from kombu.serialization import TRUSTED_CONTENT

from sentq_worker.broker.message import Envelope

__all__ = ["refusal_to_decompress"]


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


#: A few bytes of lzma may ask for a dictionary of gigabytes; its own presets need 65 MiB at most.
_LZMA_MEMORY_BYTES: Final = 128 * 1024 * 1024


def _lzma() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY_BYTES)


#: Kombu trusts these content types, and decodes them with the codec that their encoding names.
#: Python has codecs that decompress. No job is of such a type.
_TRUSTED_TYPES: Final = (None, "", *TRUSTED_CONTENT)

#: Kombu's names of compressions, and what reads them.
_DECOMPRESSORS: Final[dict[str, Callable[[], _Decompressor]]] = {
    "application/x-gzip": zlib.decompressobj,
    "gzip": zlib.decompressobj,
    "zlib": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "bzip2": bz2.BZ2Decompressor,
    "bzip": bz2.BZ2Decompressor,
    "application/x-lzma": _lzma,
    "lzma": _lzma,
    "xz": _lzma,
}


def refusal_to_decompress(envelope: Envelope, limit_bytes: int) -> str | None:
    """Return why the body of this message must not be decompressed; None if it may be, or is not
    compressed."""
    if envelope.get("content-type") in _TRUSTED_TYPES:
        return "the body is not JSON"
    compression = envelope["headers"].get("compression")
    if not compression:
        return None
    make = _DECOMPRESSORS.get(compression) if isinstance(compression, str) else None
    if make is None:
        return "the compression is not one of zlib, bzip2, lzma"
    body = envelope["body"]
    try:
        is_base64 = envelope["properties"].get("body_encoding") == "base64"
        packed = binascii.a2b_base64(body) if is_base64 else body.encode()
        decompressed_bytes = _decompressed_bytes(packed, make, limit_bytes)
    except (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError):
        return "the body cannot be decompressed"
    if decompressed_bytes > limit_bytes:
        return f"the body decompresses to more than {limit_bytes:,} bytes"
    return None


def _decompressed_bytes(packed: bytes, make: Callable[[], _Decompressor], limit_bytes: int) -> int:
    """Return the decompressed size, or a number beyond the limit. A body may hold several
    streams, one after the other."""
    total = 0
    while packed and total <= limit_bytes:
        decompressor = make()
        total += len(decompressor.decompress(packed, limit_bytes + 1 - total))
        packed = decompressor.unused_data if decompressor.eof else b""
    return total
