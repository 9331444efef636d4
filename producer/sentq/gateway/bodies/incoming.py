"""The bytes of a request's body as they arrive, decompressed if need be."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final

from starlette.requests import Request

from sentq.gateway.errors import BodyTooLarge, BodyTooSlow, MalformedRequest, UnsupportedBody

__all__ = ["IncomingBody"]

#: The most bytes that are handled before other requests go on. What decompresses to them may be a
#: thousandth of it.
_PIECE_BYTES: Final = 64 * 1024

#: For zlib: the format of gzip.
_GZIP: Final = 16 + zlib.MAX_WBITS

#: How much longer than `timeout_s` a body may take that is read as a whole.
_WHOLE_BODY_TIMES: Final = 3


class IncomingBody:
    """The body of a request. It is read once.

    Args:
        request: The request.
        timeout_s: How long the client may send nothing, in seconds.

    Raises:
        UnsupportedBody: It has another encoding than gzip.
    """

    def __init__(self, request: Request, *, timeout_s: float) -> None:
        self._request = request
        self._timeout_s = timeout_s
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip"):
            raise UnsupportedBody(
                "the body may be sent as it is, or with Content-Encoding: gzip",
                headers={"Accept-Encoding": "gzip"},
            )
        self._is_gzip = encoding != "identity"

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            BodyTooLarge: It has more bytes, sent or decompressed. The rest is not read.
            BodyTooSlow: It did not arrive in time.
            MalformedRequest: It is not what the encoding says.
            ClientDisconnect: The client has gone.
        """
        if self._sent_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        whole = bytearray()
        try:
            async with (
                asyncio.timeout(_WHOLE_BODY_TIMES * self._timeout_s),
                aclosing(self.chunks()) as chunks,
            ):
                async for chunk in chunks:
                    whole += chunk
                    if len(whole) > limit_bytes:
                        raise _too_large(limit_bytes)
        except TimeoutError:
            raise _too_slow() from None
        return bytes(whole)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body in parts of 64 KiB at most.

        Raises:
            BodyTooSlow: The client sent nothing for too long.
            MalformedRequest: The body is not what the encoding says.
            ClientDisconnect: The client has gone.
        """
        inflater = _Gunzip() if self._is_gzip else None
        async with aclosing(self._received()) as received:
            async for chunk in received:
                pieces = _pieces(chunk) if inflater is None else inflater.pieces(chunk)
                for number, piece in enumerate(pieces):
                    if number:
                        # There may be a thousand pieces: other requests go on between them.
                        await asyncio.sleep(0)
                    yield piece
        if inflater is not None:
            inflater.check_end()

    @property
    def _sent_bytes(self) -> int:
        """How many bytes are to come, if the client says so; else 0."""
        length = self._request.headers.get("content-length", "")
        return int(length) if length.isascii() and length.isdigit() else 0

    async def _received(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._request.stream()) as stream:
            while True:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        chunk = await anext(stream, None)
                except TimeoutError:
                    raise _too_slow() from None
                if chunk is None:
                    return
                if chunk:
                    yield chunk


def _pieces(chunk: bytes) -> Iterator[bytes]:
    """Yield a chunk in pieces of bounded size."""
    if len(chunk) <= _PIECE_BYTES:
        yield chunk
        return
    for first in range(0, len(chunk), _PIECE_BYTES):
        yield chunk[first : first + _PIECE_BYTES]


class _Gunzip:
    """Decompresses a stream of gzip members."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._has_begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield what so many bytes decompress to, in pieces of bounded size."""
        while data:
            if self._member.eof:
                self._member, self._has_begun = zlib.decompressobj(_GZIP), False
            self._has_begun = True
            try:
                piece = self._member.decompress(data, _PIECE_BYTES)
            except zlib.error:
                raise MalformedRequest("the body is not valid gzip") from None
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                yield piece

    def check_end(self) -> None:
        """Refuse a stream that ends inside a member."""
        if self._has_begun and not self._member.eof:
            raise MalformedRequest("the body ends before its gzip data does")


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body has more than {limit_bytes:,} bytes (max_body_bytes)")


def _too_slow() -> BodyTooSlow:
    return BodyTooSlow("the body did not arrive in time: send it faster, or in smaller requests")
