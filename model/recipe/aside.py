"""Split the data of the last training: rows to learn from, and rows set aside by kind of text.

    python model/recipe/aside.py DATA OUT

OUT/train gets a file per source, OUT/aside a file per kind of text. A row is set aside by the hash
of the letters and digits of its text, and not by what else the data contain. Rows that an earlier
training held out are never trained on either. Of no row in OUT/aside, a copy that differs only in
case, spaces or punctuation is in OUT/train, from any source.

In OUT/train, the labels of a source have nearly equal shares: a label gets as many rows as the
label in the middle has, up to a limit. Of a frequent label the others are left out; of a rare one
each row is taken at most twice.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any

from unseen import SEED

from sentq_worker.training.data.corpus import hold_out
from sentq_worker.training.data.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Row = dict[str, Any]

#: No row of a rare label is taken more often.
MOST_COPIES = 2


@dataclass(frozen=True, slots=True)
class FileRows:
    """A file of the data: the name of its training rows, and what is set aside of them.

    `kind` names the rows set aside, and `share` is how many of the rows they are. `kept` selects
    the rows that this source has of the file. Each label gets at most `most` rows.
    """

    file: str
    name: str
    kind: str = ""
    share: float = 0.0
    kept: Callable[[Row], bool] = lambda _: True
    most: int = 8_000


def _to_learn(row: Row) -> bool:
    return bool(row["split"] == "train")


SOURCES = (
    FileRows("dynasent_dev", "everyday", "everyday", 0.2, lambda row: "_r1_" in row["source"]),
    FileRows(
        "dynasent_dev", "adversarial", "adversarial", 0.4, lambda row: "_r2_" in row["source"]
    ),
    FileRows("vader_amazon_snippets", "product_sentences", "product_sentences", 0.2),
    FileRows("clothing_reviews", "clothing", "clothing", 0.4),
    FileRows("cad_imdb_train", "contrast_reviews", "contrast_reviews", 0.1),
    FileRows("mds_reviews_train", "product_reviews", "product_reviews"),
    FileRows("imdb_train", "film_reviews", most=3_000),
    FileRows("sst2_train", "film_phrases", kept=_to_learn),
    FileRows(
        "sst5_phrases_train",
        "film_fragments",
        kept=lambda row: _to_learn(row) and not row["root"],
    ),
    FileRows(
        "sst5_phrases_train", "film_sentences", kept=lambda row: _to_learn(row) and row["root"]
    ),
    FileRows("semeval_tweets_train", "tweets"),
    FileRows("tse_tweets_train", "more_tweets"),
    FileRows("goemotions_train", "comments"),
)

#: Of these the second and the third training held 5% out, which stay held out. unseen.py writes
#: those of the film reviews that the first one did not draw either.
HELD_OUT_BEFORE = {"product_reviews", "film_reviews"}

#: Files of which all rows are set aside, or those that `kept` selects, and the kind of text.
VALIDATION = (
    FileRows("sst2_train", "", "film_phrases", kept=lambda row: row["split"] == "valid"),
    FileRows(
        "sst5_phrases_train",
        "",
        "film_sentences",
        kept=lambda row: bool(row["split"] == "valid" and row["root"]),
    ),
    FileRows("semeval_tweets_valid", "", "tweets"),
    FileRows("goemotions_valid", "", "comments"),
)


def letters(text: str) -> str:
    """Return the letters and digits of a text in lower case."""
    return "".join(filter(str.isalnum, text.casefold()))


def is_aside(text: str, share: float) -> bool:
    """Tell whether a text is in the share that is set aside; equal letters are on one side."""
    digest = hashlib.blake2b(f"aside\0{letters(text)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


def balanced(rows: Iterable[Row], *, most: int) -> list[Row]:
    """Return rows of which each label has the number that the label in the middle has, or `most`.

    The order of the texts' hashes decides which rows of a frequent label are kept. A label with
    fewer than half of that number stays rarer.
    """
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row["label"]].append(row)
    number = min(most, median_low(map(len, by_label.values())))
    return [row for each in by_label.values() for row in (mixed(each) * MOST_COPIES)[:number]]


def mixed(rows: Iterable[Row]) -> list[Row]:
    """Return rows in the order of the hashes of their texts."""
    return sorted(rows, key=lambda row: hashlib.sha256(row["text"].encode()).digest())


def split(rows: list[Row], source: FileRows) -> tuple[list[Row], list[Row]]:
    """Return the rows to learn from, and the rows that are set aside."""
    if source.name in HELD_OUT_BEFORE:
        texts = [row["text"] for row in rows]
        labelled = Rows(source.name, texts, [row["label"] for row in rows], "")
        _, (held,) = hold_out([labelled], seed=SEED, names=[source.name])
        chosen = set(held.texts)
        aside = [row["text"] in chosen for row in rows]
    else:
        aside = [is_aside(row["text"], source.share) for row in rows]
    return (
        [row for row, out in zip(rows, aside, strict=True) if not out],
        [row for row, out in zip(rows, aside, strict=True) if out],
    )


def read(data: Path, source: FileRows) -> list[Row]:
    """Return the rows of a source."""
    with gzip.open(data / f"{source.file}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows: list[Row] = [json.loads(line) for line in file]
    return [row for row in rows if source.kept(row)]


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write text and label of rows as compressed JSON lines; equal rows give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(
        json.dumps({"text": row["text"], "label": row["label"]}, ensure_ascii=False) + "\n"
        for row in rows
    )
    path.write_bytes(gzip.compress(lines.encode(), mtime=0))


def main(data: Path, out: Path) -> None:
    """Write all files."""
    parts = {source: split(read(data, source), source) for source in SOURCES}
    kinds = {source.kind: read(data, source) for source in VALIDATION}
    kinds |= {source.kind: aside for source, (_, aside) in parts.items() if source.kind}
    for kind, rows in kinds.items():
        write(out / "aside" / f"{kind}.jsonl.gz", rows)
    every = [*kinds.values(), *(aside for _, aside in parts.values())]
    known = {letters(row["text"]) for rows in every for row in rows}
    for source, (learned, _) in parts.items():
        new = [row for row in learned if letters(row["text"]) not in known]
        write(out / "train" / f"{source.name}.jsonl.gz", balanced(new, most=source.most))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
