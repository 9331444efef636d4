"""Write the film reviews that no training of the bundled model has drawn, to measure it on.

    python model/recipe/unseen.py DATA FIRST/training.json OUT.jsonl.gz

The second training holds 5% of DATA/imdb_train.jsonl.gz out. The first drew from all rows, and
its seed determines which: these rows, and their duplicates, are excluded here.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path
from typing import Any

from sentq_worker.training.data.batches import draw_rows
from sentq_worker.training.data.corpus import hold_out, normalised
from sentq_worker.training.data.rows import Filter, Rows, Source, read_rows

REVIEWS = "imdb_train.jsonl.gz"

#: The seed of the training that held rows out.
SEED = 1


def texts_drawn(data: Path, options: dict[str, str]) -> set[str]:
    """Return the texts that a finished training drew, by the options in its record."""
    sources = [Source.parse(one) for one in options["data"].split(", ")]
    filters = [Filter.parse(options["where"])]
    rows = [read_rows(data / source.path, filters) for source in sources]
    texts = [normalised(text) for each in rows for text in each.texts]
    sizes, weights = [len(each) for each in rows], [source.weight for source in sources]
    numbers: set[int] = set()
    for epoch in range(int(options["epochs"])):
        rng = random.Random(f"{options['seed']}:{epoch}")  # noqa: S311 - the rows that the training drew
        numbers.update(draw_rows(sizes, weights, rng))
    return {texts[number] for number in numbers}


def unseen(held: Rows, seen: set[str]) -> str:
    """Return the held-out rows whose text is not in `seen`, as JSON lines."""
    pairs = zip(held.texts, held.labels, strict=True)
    kept = [{"text": text, "label": label} for text, label in pairs if normalised(text) not in seen]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)


def main(data: Path, record: Path, out: Path) -> None:
    """Read the reviews, exclude those that were drawn, and write the others."""
    first: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    reviews = read_rows(data / REVIEWS, [Filter.parse("split=train")])
    _, (held,) = hold_out([reviews], seed=SEED, names=[REVIEWS])
    lines = unseen(held, texts_drawn(data, first["options"]))
    out.write_bytes(gzip.compress(lines.encode(), mtime=0))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
