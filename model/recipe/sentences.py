"""Write the whole sentences among the phrases of the treebank, as a source of their own.

    python model/recipe/sentences.py DATA/sst5_phrases_train.jsonl.gz OUT.jsonl.gz [SPLIT]

Nineteen of twenty rows are fragments of sentences, but users score sentences. The split is
"train", or "valid" for the held-out rows.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path


def sentences(phrases: Path, split: str) -> str:
    """Return the rows of a split that are the roots of their trees, as JSON lines."""
    with gzip.open(phrases, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    kept = [row for row in rows if row["root"] and row["split"] == split]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)


if __name__ == "__main__":
    data, out, split = [*sys.argv[1:], "train"][:3]
    Path(out).write_bytes(gzip.compress(sentences(Path(data), split).encode(), mtime=0))
