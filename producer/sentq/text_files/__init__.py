"""Read files of texts, and of labelled rows: plain lines, JSON lines, CSV, TSV and Parquet.

`formats` knows which format a file's name implies, `records` reads the rows of each format, and
`texts` makes of them the texts that `sentq score` sends. The worker's training reads labelled rows
through `records`. May import `sentq.contract` and `sentq.errors`.
"""

from sentq.text_files.formats import FileProblem, Format, MissingLibrary
from sentq.text_files.texts import count_texts, read_texts

__all__ = ["FileProblem", "Format", "MissingLibrary", "count_texts", "read_texts"]
