"""The manifest of a run: what it reads and how, what scored it, and which parts are written.

A part counts once the manifest does say so. Both are written beside their place, synced to the
disk and renamed, the part first. So whenever a process ends, at most the part in work is lost, and
no part is ever half.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from sentq.files.formats import FileProblem
from sentq.files.reading.chunks import START, Place
from sentq.files.run.scoring import ModelName
from sentq.files.run.tally import RunTally

__all__ = ["MANIFEST", "Manifest", "RunChanged", "is_of_run", "written_file"]

#: Its name. Readers of folders of Parquet leave out names that begin with `_`.
MANIFEST: Final = "_manifest.json"
_LOCK: Final = "_lock"

#: The form of the manifest. A later form gets another number.
_FORM: Final = 1


class RunChanged(FileProblem):
    """The parts that exist are of another input, other options or another model."""


@dataclass(slots=True)
class Manifest:
    """What of a run is written.

    Attributes:
        folder: Where the parts are.
        inputs: What identifies the input; None for one that can be read only once.
        options: What changes the output, by the names of options.
        model: What scored the parts; None as long as no text was scored.
        parts: How many parts are written.
        part_bytes: The size of all of them.
        end: The place in the input after the last of them.
        tally: What of them was counted.
        is_complete: Whether the output is complete, and the parts are not needed any more.
    """

    folder: Path
    inputs: list[dict[str, object]] | None
    options: dict[str, object]
    model: ModelName | None = None
    parts: int = 0
    part_bytes: int = 0
    end: Place = START
    tally: RunTally = field(default_factory=RunTally)
    is_complete: bool = False

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the manifest of a folder; None if it has no manifest.

        Raises:
            FileProblem: It is not a manifest that this version reads.
        """
        try:
            return cls._from_json(folder, json.loads((folder / MANIFEST).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise FileProblem(
                f"{folder / MANIFEST} cannot be read by this version: --restart begins anew"
            ) from error

    @classmethod
    def _from_json(cls, folder: Path, found: Mapping[str, Any]) -> Self:
        if found["form"] != _FORM:
            raise ValueError("the manifest of another version")
        model = found["model"]
        return cls(
            folder,
            found["inputs"],
            found["options"],
            None if model is None else ModelName(*model),
            found["parts"],
            found["part_bytes"],
            Place(*found["end"]),
            RunTally.from_json(found["tally"]),
            found["is_complete"],
        )

    def write(self) -> None:
        """Write it, in the place of the one before."""
        fields = {
            "form": _FORM,
            "inputs": self.inputs,
            "options": self.options,
            "model": self.model,
            "parts": self.parts,
            "part_bytes": self.part_bytes,
            "end": self.end,
            "tally": self.tally.as_json(),
            "is_complete": self.is_complete,
        }
        with written_file(self.folder / MANIFEST) as file:
            file.write(json.dumps(fields, indent=1).encode())

    def check_same(
        self, inputs: list[dict[str, object]] | None, options: Mapping[str, object]
    ) -> None:
        """Check that an input and options are those of the parts.

        Raises:
            RunChanged: They are not; the message says what changed.
        """
        if self.inputs is None or inputs is None:
            raise RunChanged(
                f"{self.folder} has parts of an input that could be read only once, such as a "
                "pipe: --restart discards them and begins anew"
            )
        changes = [*_changed_inputs(self.inputs, inputs), *_changed_options(self.options, options)]
        if changes:
            raise RunChanged(
                f"{self.folder} has {self.tally.rows:,} scored rows of another run: "
                f"{'; '.join(changes)}. --restart discards them and begins anew"
            )

    def check_model(self, model: ModelName | None) -> None:
        """Check that a model is that of the parts; the first one is.

        Raises:
            RunChanged: It is another one.
        """
        if model is None or model == self.model:
            return
        if self.model is not None:
            raise RunChanged(
                f"{self.tally.rows:,} rows were scored by {self.model}, and now {model} answers: "
                "the two are not mixed. Go on with workers of the first model, or begin anew with "
                "--restart"
            )
        self.model = model

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


def _changed_inputs(before: list[dict[str, object]], now: list[dict[str, object]]) -> Iterator[str]:
    if len(before) != len(now):
        yield f"the input had {len(before)} files and has {len(now)}"
        return
    for old, new in zip(before, now, strict=True):
        if old["sha256"] != new["sha256"]:
            yield (
                f"the input {new['name']} has changed ({old['bytes']:,} bytes, SHA-256 "
                f"{str(old['sha256'])[:12]}; now {new['bytes']:,} bytes, {str(new['sha256'])[:12]})"
            )


def _changed_options(before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) != now.get(name):
            yield f"{name} was {_shown(before.get(name))} and is {_shown(now.get(name))}"


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)
