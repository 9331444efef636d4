"""Where an output goes: a file, a folder or a stream; and where its parts are meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sentq.files.formats import STANDARD_INPUT, Compression, FileProblem, Format

__all__ = ["Output"]


@dataclass(frozen=True, slots=True)
class Output:
    """An output.

    Attributes:
        path: The file or the folder; None for standard output.
        form: Its format.
        compression: How a file, or each part of a folder, is compressed.
        is_folder: Whether the parts stay files in a folder.
        is_stream: Whether it is written as the outcomes come, and cannot be resumed: standard
            output, a pipe, a device.
    """

    path: Path | None
    form: Format
    compression: Compression = Compression.NONE
    is_folder: bool = False
    is_stream: bool = False

    @classmethod
    def parse(cls, name: str, form: Format | None, *, of_input: Format) -> Output:
        """Return the output that a name means.

        Args:
            name: A file; a folder, whose name ends in a slash or which exists; `-` for standard
                output.
            form: The format that the user named, if any.
            of_input: The format of the input, which a folder has by default.

        Raises:
            FileProblem: The name does not say the format, or the format is impossible there.
        """
        if name == STANDARD_INPUT:
            return cls(None, _of_stream(form, "standard output"), is_stream=True)
        path = Path(name)
        if path.exists() and not path.is_file() and not path.is_dir():
            return cls(path, _of_stream(form, name), is_stream=True)
        if name.endswith("/") or path.is_dir():
            return cls(path, _writable(form or _of_rows(of_input), name), is_folder=True)
        named = form or Format.of(name)
        if named is None:
            raise FileProblem(
                f"the name {name} does not say the format of the output: let it end in .csv, .tsv, "
                ".jsonl or .parquet (all but the last also with .gz or .zst), or in / for a "
                "folder; or name it by --out-format"
            )
        compression = Compression.of(name)
        if named is Format.PARQUET and compression is not Compression.NONE:
            raise FileProblem(f"{name}: Parquet is compressed inside; let it end in .parquet")
        return cls(path, _writable(named, name), compression)

    @property
    def staging(self) -> Path:
        """The folder of the parts and the manifest, until the output is complete."""
        if self.path is None:
            raise ValueError("a stream has no parts")
        return self.path.with_name(self.path.name + ".parts")

    @property
    def files(self) -> list[Path]:
        """The files of an output that is complete, in order."""
        if self.path is None:
            return []
        return sorted(self.path.glob("part-*")) if self.is_folder else [self.path]

    @property
    def part_suffix(self) -> str:
        """What the names of parts end in."""
        return f".{self.form}{self.compression}"

    def __str__(self) -> str:
        return "standard output" if self.path is None else str(self.path)


def _of_rows(form: Format) -> Format:
    return form if form.has_columns else Format.JSONL


def _of_stream(form: Format | None, name: str) -> Format:
    if form is Format.PARQUET:
        raise FileProblem(f"Parquet cannot be written to {name}: name a file")
    return _writable(form or Format.JSONL, name)


def _writable(form: Format, name: str) -> Format:
    if not form.has_columns:
        raise FileProblem(f"{name}: plain lines cannot hold outcomes; write .jsonl or .csv")
    return form
