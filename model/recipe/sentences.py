"""Writes the whole sentences among the treebank's phrases, as a source of their own.

    python model/recipe/sentences.py DATA/sst5_phrases_train.jsonl.gz OUT.jsonl.gz

Nineteen rows in twenty are pieces of sentences; people score sentences. Rows that are set aside
for validation stay out.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path


def sentences(phrases: Path) -> str:
    """Return the rows of the training split that are roots of their trees, as JSON lines."""
    with gzip.open(phrases, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    kept = [row for row in rows if row["root"] and row["split"] == "train"]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(gzip.compress(sentences(Path(sys.argv[1])).encode(), mtime=0))
