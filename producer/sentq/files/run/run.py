"""A run whose output is a file, a folder or a stream: each chunk is written as a part."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

from sentq.contract import Outcome
from sentq.files.formats import FileProblem
from sentq.files.reading.chunks import Chunk
from sentq.files.reading.sources import RowSource
from sentq.files.run.manifest import MANIFEST, Manifest, is_of_run, written_file
from sentq.files.run.scored import scored_chunks
from sentq.files.run.scoring import TextScoring
from sentq.files.run.tally import RunTally
from sentq.files.run.watch import RunWatch
from sentq.files.writing.output import Output
from sentq.files.writing.parts import PartWriter

__all__ = ["FileRun"]

_JOINED: Final = "joined.tmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRun:
    """A run.

    Attributes:
        source: The rows.
        writer: Writes parts in the format of the output.
        output: Where they go.
        options: What changes the output, by the names of options, for the manifest.
        restart: Whether what an earlier run wrote is discarded.
        watch: Is told of the progress.
    """

    source: RowSource
    writer: PartWriter
    output: Output
    options: Mapping[str, object]
    restart: bool
    watch: RunWatch

    def score(self, open_scoring: Callable[[], TextScoring]) -> RunTally:
        """Score all rows that no earlier run has scored, and complete the output.

        Args:
            open_scoring: Returns what scores the texts. It is not called if nothing is left.

        Returns:
            The counts of all rows, those of earlier runs too.

        Raises:
            RunChanged: An earlier run had another input, other options or another model.
            FileProblem: The input is not a file of its format, the output exists already, or it
                cannot be written.
            SentqError: What the scoring raises. The parts are kept.
        """
        if self.output.is_stream:
            return self._score_to_stream(open_scoring)
        self._check_output()
        folder = self.output.staging
        inputs = self.source.digests()
        new = Manifest(where=str(folder), inputs=inputs, options=dict(self.options))
        with new.locked():
            manifest = None if self.restart else Manifest.read(folder)
            if manifest is None:
                manifest = new
                manifest.write()
            else:
                manifest.check_same(inputs, self.options)
                if not manifest.is_complete:
                    manifest.check_parts(self.output.part_suffix)
            if not manifest.is_complete:
                self.watch.begin(manifest.tally, self.source.rows, resumes=manifest.parts > 0)
                self._write_parts(manifest, open_scoring)
            self._complete(manifest)
        return manifest.tally

    # --- Parts -----------------------------------------------------------------------------------

    def _write_parts(self, manifest: Manifest, open_scoring: Callable[[], TextScoring]) -> None:
        for chunk, outcomes in self._scored_chunks(manifest, open_scoring):
            self._write_part(manifest, chunk, outcomes)
        if manifest.parts == 0:
            self._write_part(manifest, self.source.no_rows(), [])

    def _write_part(self, manifest: Manifest, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        path = manifest.part(manifest.parts, self.output.part_suffix)
        begins_file = self.output.is_folder or manifest.parts == 0
        with written_file(path) as file:
            self.writer.write(file, chunk, outcomes, begins_file=begins_file)
        manifest.part_bytes += path.stat().st_size
        manifest.add(chunk, outcomes)
        manifest.write()

    def _scored_chunks(
        self, manifest: Manifest, open_scoring: Callable[[], TextScoring]
    ) -> Iterator[tuple[Chunk, Sequence[Outcome]]]:
        return scored_chunks(self.source.chunks(manifest.end), manifest, open_scoring, self.watch)

    def _score_to_stream(self, open_scoring: Callable[[], TextScoring]) -> RunTally:
        # It only counts, and is not written.
        manifest = Manifest(where="", inputs=None, options={})
        self.watch.begin(manifest.tally, self.source.rows, resumes=False)
        with self._stream() as stream:
            for chunk, outcomes in self._scored_chunks(manifest, open_scoring):
                begins = manifest.parts == 0
                self.writer.write(stream, chunk, outcomes, begins_file=begins)
                stream.flush()
                manifest.add(chunk, outcomes)
            if manifest.parts == 0:
                self.writer.write(stream, self.source.no_rows(), [], begins_file=True)
        return manifest.tally

    @contextmanager
    def _stream(self) -> Iterator[BinaryIO]:
        path = self.output.path
        if path is None:
            yield sys.stdout.buffer
            return
        try:
            stream = path.open("wb")
        except OSError as error:
            raise FileProblem(f"cannot write {path}: {error.strerror}") from error
        with stream:
            yield stream

    # --- The output as a whole --------------------------------------------------------------------

    def _check_output(self) -> None:
        """Check that no file is overwritten that is not of this run.

        Raises:
            FileProblem: There is one.
        """
        path = self.output.path
        if path is None or not path.exists():
            return
        if self.output.is_folder:
            names = {file.name for file in path.iterdir()} - {MANIFEST}
            if not names:
                return
            if not all(map(is_of_run, names)):
                raise FileProblem(f"the folder {path} has other files: name a new one")
        elif path.stat().st_size == 0 or (self.output.staging / MANIFEST).is_file():
            return
        if not self.restart:
            raise FileProblem(f"{path} exists already: --restart overwrites it")

    def _complete(self, manifest: Manifest) -> None:
        """Make the output of the parts. It may be repeated, wherever it was interrupted."""
        path = self.output.path
        if path is None:
            return
        if not self.output.is_folder:
            if not manifest.is_complete:
                parts = [manifest.part(n, self.output.part_suffix) for n in range(manifest.parts)]
                with written_file(path, beside=manifest.folder / _JOINED) as file:
                    self.writer.join(parts, file)
                manifest.is_complete = True
                manifest.write()
            manifest.discard()
            return
        manifest.is_complete = True
        manifest.write()
        manifest.discard_others(self.output.part_suffix)
        if path.exists():
            Manifest(where=str(path), inputs=None, options={}).discard()
        try:
            manifest.folder.rename(path)
        except OSError as error:
            raise FileProblem(f"cannot write {path}: {error.strerror}") from error
