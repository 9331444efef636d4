"""The rows of an input as chunks, from any place on: one module for each kind of input.

`base` says what a source is, and has what all files share; `cells` reads CSV, TSV and plain lines,
`objects` JSON lines, `tables` Parquet, and `given` texts of a command line. `opened` chooses. The
chunks of an input are always the same: a run that goes on at the end of one gets the next ones as a
run that was not interrupted. May import the other modules of `sentq.files.reading`.
"""

from sentq.files.reading.sources.base import ROWS_PER_CHUNK, ReadOptions, RowSource
from sentq.files.reading.sources.given import TextSource
from sentq.files.reading.sources.opened import open_source

__all__ = ["ROWS_PER_CHUNK", "ReadOptions", "RowSource", "TextSource", "open_source"]
