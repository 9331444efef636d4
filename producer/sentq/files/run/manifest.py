"""The manifest of a run: its state, beside its parts.

A part counts once the manifest does say so. Both are written beside their place, synced to the
disk and renamed, the part first. So whenever a process ends, at most the part in work is lost, and
no part is ever half.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from sentq.files.formats import FileProblem
from sentq.files.run.state import RunState

__all__ = ["MANIFEST", "Manifest", "is_of_run", "written_file"]

#: Its name. Readers of folders of Parquet leave out names that begin with `_`.
MANIFEST: Final = "_manifest.json"
_LOCK: Final = "_lock"


@dataclass(slots=True, kw_only=True)
class Manifest(RunState):
    """What of a run is written as parts in a folder, which is `where`.

    Attributes:
        part_bytes: The size of all parts.
        is_complete: Whether the output is complete, and the parts are not needed any more.
    """

    part_bytes: int = 0
    is_complete: bool = False

    @property
    def folder(self) -> Path:
        """Where the parts are."""
        return Path(self.where)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the manifest of a folder; None if it has no manifest.

        Raises:
            FileProblem: It is not a manifest that this version reads.
        """
        try:
            return cls.from_json(str(folder), json.loads((folder / MANIFEST).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise FileProblem(
                f"{folder / MANIFEST} cannot be read by this version: --restart begins anew"
            ) from error

    @classmethod
    def from_json(cls, where: str, found: Mapping[str, Any]) -> Self:
        """See `RunState`."""
        manifest = super(Manifest, cls).from_json(where, found)
        manifest.part_bytes = found["part_bytes"]
        manifest.is_complete = found["is_complete"]
        return manifest

    def as_json(self) -> dict[str, Any]:
        """See `RunState`."""
        state = super(Manifest, self).as_json()
        return state | {"part_bytes": self.part_bytes, "is_complete": self.is_complete}

    def write(self) -> None:
        """Write it, in the place of the one before."""
        with written_file(self.folder / MANIFEST) as file:
            file.write(json.dumps(self.as_json(), indent=1).encode())

    def part(self, number: int, suffix: str) -> Path:
        """Return the file of a part."""
        return self.folder / f"part-{number:05}{suffix}"

    def check_parts(self, suffix: str) -> None:
        """Check that all parts are there.

        Raises:
            FileProblem: One is missing, or has another size.
        """
        sizes = [
            path.stat().st_size if (path := self.part(n, suffix)).is_file() else 0
            for n in range(self.parts)
        ]
        if sum(sizes) != self.part_bytes or not all(sizes):
            raise FileProblem(
                f"parts in {self.folder} were removed or changed: --restart begins anew"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other processes from it in the block.

        Raises:
            FileProblem: Another process writes there, or the folder cannot be made.
        """
        import fcntl  # Here, because other commands do without it on systems that do not have it.

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / _LOCK).open("wb")
        except OSError as error:
            raise FileProblem(f"cannot write {self.folder}: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise FileProblem(f"another process writes {self.folder}: wait for it") from error
            yield

    def discard_others(self, suffix: str) -> None:
        """Remove what is neither a part nor the manifest."""
        kept = {self.part(n, suffix).name for n in range(self.parts)} | {MANIFEST}
        for path in self.folder.iterdir():
            if path.name not in kept:
                path.unlink()

    def discard(self) -> None:
        """Remove the parts, then the manifest, and the folder if nothing else is in it."""
        for path in self.folder.iterdir():
            if is_of_run(path.name):
                path.unlink()
        for name in (MANIFEST, _LOCK):
            (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def is_of_run(name: str) -> bool:
    """Return whether a file in a folder of parts is a part, or one that becomes a part."""
    return name.startswith("part-") or name.endswith(".tmp")


@contextmanager
def written_file(path: Path, *, beside: Path | None = None) -> Iterator[BinaryIO]:
    """Open a new file for the block; then sync it to the disk and rename it to its place.

    Args:
        path: Its place.
        beside: Where it is written, on the same disk; None for beside its place.

    Raises:
        FileProblem: The disk is full, or the file cannot be written.
    """
    beside = beside or path.with_name(path.name + ".tmp")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise FileProblem(f"cannot write {path}: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
