"""Write rows with scores: their label, mixed with what a model gives them.

    python model/recipe/distil.py MODEL OUT FILE=SHARE ...

A training on such rows learns from the label and keeps what MODEL (a folder) knows (Hinton et al.
2015, Distilling the knowledge in a neural network, arXiv:1503.02531). The label has SHARE of the
probability, and the scores of MODEL have the rest. OUT gets a file with the name of each FILE;
FILE@0.3=SHARE keeps 30% of the rows. Equal rows give equal bytes.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aside import mixed
from average import scored_by

from sentq_worker.training.data.rows import Rows, Source, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sentq_worker.evaluate.scored import ScoredRows


def kept(source: Source) -> Rows:
    """Return the share of the rows of a file that its weight says, in the order of their hashes."""
    read = read_rows(source.path)
    pairs = zip(read.texts, read.labels, strict=True)
    rows = mixed({"text": text, "label": label} for text, label in pairs)
    rows = rows[: round(len(rows) * min(source.weight, 1))]
    return Rows(read.name, [row["text"] for row in rows], [row["label"] for row in rows], "")


def mixture(label: str, scores: Mapping[str, float], share: float) -> dict[str, float]:
    """Return the probabilities of the labels: `share` for `label`, the rest by `scores`."""
    return {
        each: round(share * (each == label) + (1 - share) * score, 4)
        for each, score in scores.items()
    }


def softened(rows: Rows, scored: ScoredRows, share: float) -> Iterable[dict[str, Any]]:
    """Yield the rows that could be scored, with their scores."""
    for number, found in zip(scored.row_numbers, scored.probabilities, strict=True):
        label = rows.labels[number]
        scores = mixture(label, dict(zip(scored.labels, found, strict=True)), share)
        yield {"text": rows.texts[number], "label": label, "scores": scores}


def main(model: Path, out: Path, files: Sequence[str]) -> None:
    """Score the rows of all files, and write them."""
    out.mkdir(parents=True, exist_ok=True)
    given = [each.rpartition("=") for each in files]
    chosen = [kept(Source.parse(name)) for name, _, _ in given]
    shares = [float(share) for _, _, share in given]
    # As the training computes: with bfloat16 in a third of the time, where a processor has it.
    scored = scored_by(model, chosen, threads=1, dtype="auto")
    for rows, each, share in zip(chosen, scored, shares, strict=True):
        lines = [json.dumps(row, ensure_ascii=False) for row in softened(rows, each, share)]
        content = "".join(line + "\n" for line in lines).encode()
        (out / rows.name).write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
