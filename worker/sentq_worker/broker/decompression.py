"""Compressed bodies, looked at before they are inflated: a few kilobytes may hold gigabytes.

Kombu inflates a body whole as it makes a message of it. What is here says beforehand, in bounded
memory, whether that would be too large.
"""

from __future__ import annotations

import binascii
import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from kombu.serialization import TRUSTED_CONTENT

__all__ = ["refusal_to_decompress"]


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


#: A few bytes of lzma may ask for a dictionary of gigabytes; its own presets need 65 MiB at most.
_LZMA_MEMORY_BYTES: Final = 128 * 1024 * 1024


def _lzma() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY_BYTES)


#: Kombu believes these, and decodes them with whatever codec their encoding names: Python has some
#: that inflate. No job is of such a type.
_TAKEN_AS_THEY_ARE: Final = (None, "", *TRUSTED_CONTENT)

#: What kombu calls them, and what Python reads them with.
_INFLATERS: Final[dict[str, Callable[[], _Inflater]]] = {
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


def refusal_to_decompress(envelope: Mapping[str, Any], limit_bytes: int) -> str | None:
    """Why the body of this message must not be inflated; None if it may, or is not compressed."""
    if envelope.get("content-type") in _TAKEN_AS_THEY_ARE:
        return "the body is not JSON"
    compression = envelope["headers"].get("compression")
    if not compression:
        return None
    make = _INFLATERS.get(compression) if isinstance(compression, str) else None
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


def _decompressed_bytes(packed: bytes, make: Callable[[], _Inflater], limit_bytes: int) -> int:
    """How large it would be, or something beyond the limit. Streams may follow each other."""
    total = 0
    while packed and total <= limit_bytes:
        inflater = make()
        total += len(inflater.decompress(packed, limit_bytes + 1 - total))
        packed = inflater.unused_data if inflater.eof else b""
    return total
