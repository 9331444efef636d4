"""Write rows with labels that a model gives them, so that a training from it keeps what it knows.

    python model/recipe/distil.py MODEL IN.jsonl.gz OUT.jsonl.gz SHARE

The label of a row is drawn from the scores of MODEL (a folder): its expected gradient is that of
a training on the scores themselves (Hinton et al. 2015, Distilling the knowledge in a neural
network, arXiv:1503.02531). SHARE of the rows is kept. All rows follow from a fixed seed.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from aside import mixed, write
from average import scored_by

from sentq_worker.training.data.rows import Rows, read_rows


def main(model: Path, source: Path, out: Path, share: float) -> None:
    """Score the rows, draw their labels, and write them."""
    read = read_rows(source)
    pairs = zip(read.texts, read.labels, strict=True)
    rows = mixed({"text": text, "label": label} for text, label in pairs)
    rows = rows[: round(len(rows) * share)]
    texts = [row["text"] for row in rows]
    (scored,) = scored_by(
        model, [Rows(read.name, texts, [row["label"] for row in rows], "")], threads=1
    )
    chance = random.Random(f"distil:{read.name}")  # noqa: S311 - the same labels every time
    drawn = [chance.choices(scored.labels, scores)[0] for scores in scored.probabilities]
    numbers = zip(scored.row_numbers, drawn, strict=True)
    write(out, ({"text": texts[number], "label": label} for number, label in numbers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
