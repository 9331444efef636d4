"""Write the rows of the multilingual model: to learn from, and set aside by language.

    PYTHONPATH=model/recipe python model/recipe/multilingual/rows.py DATA XLM_T SENTIMIX ENGLISH OUT

DATA/umsab_multilingual_train.jsonl.gz has the training rows of UMSAB (tweets) except the English
ones; XLM_T is a clone of github.com/cardiffnlp/xlm-t at 874214d64d96, with its validation rows.
SENTIMIX is a clone of github.com/anuragvij264/sentimix-semeval2020: tweets that mix Hindi, in Latin
letters, with English. ENGLISH is the folder `train` that model/recipe/aside.py writes.

OUT/train gets a file per source, OUT/aside one per language. Set aside are UMSAB's validation rows,
the trial rows of SentiMix, and a quarter of those rows of Hindi that can be used. No row of
OUT/train has the letters of one in OUT/aside. UMSAB's test rows are not read.

In the validation rows of Hindi, and in the first half of its training rows, UMSAB's labels do not
belong to the texts: smiles and words of praise are as frequent in each class. They are not used.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aside import is_aside, letters, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Row = dict[str, Any]

_LANGUAGES: Final = ("arabic", "french", "german", "italian", "portuguese", "spanish")

_LABELS: Final = {"0": "negative", "1": "neutral", "2": "positive"}

#: From this row on, the labels of Hindi belong to their texts. Where they begin to, is not certain:
#: between the 900th and the 930th row.
_FIRST_OF_HINDI: Final = 918
_ASIDE_OF_HINDI: Final = 0.25

#: SentiMix has its tweets as tokens: "https // t . co / x", "@ Some _ One", "# tag".
_LINK: Final = re.compile(r"https?\s*//?\s*(?:t(?:\s*\.?\s*co)?\b)?(?:\s*/\s*\w+)?|https?\b")
_NAME: Final = re.compile(r"(?<!\w)@ ?\w+(?: _ ?\w*| ?_ \w+)*")
_TAG: Final = re.compile(r"# (?=\w)")

#: Texts with fewer letters and digits teach nothing.
_LEAST_LETTERS: Final = 9


def main(data: Path, xlm_t: Path, sentimix: Path, english: Path, out: Path) -> None:
    """Write all files."""
    tweets = _read(data / "umsab_multilingual_train.jsonl.gz")
    learned = {name: [row for row in tweets if row["lang"] == name] for name in _LANGUAGES}
    hindi = [row for row in tweets if row["lang"] == "hindi"][_FIRST_OF_HINDI:]
    learned["hindi"] = hindi
    learned["hinglish"] = distinct(sentimix_rows(sentimix / "train_conll.txt"))
    learned |= {file.name.partition(".")[0]: _read(file) for file in english.glob("*.jsonl.gz")}
    aside = {name: validation_rows(xlm_t, name) for name in (*_LANGUAGES, "english")}
    aside["hindi"] = [row for row in hindi if is_aside(row["text"], _ASIDE_OF_HINDI)]
    aside["hinglish"] = list(sentimix_rows(sentimix / "trial_conll.txt"))
    known = {letters(row["text"]) for rows in aside.values() for row in rows}
    for name, rows in aside.items():
        write(out / "aside" / f"{name}.jsonl.gz", rows)
    for name, rows in learned.items():
        new = [row for row in rows if letters(row["text"]) not in known]
        write(out / "train" / f"{name}.jsonl.gz", new)


def validation_rows(clone: Path, language: str) -> list[Row]:
    """Return the validation rows of a language of UMSAB."""
    folder = clone / "data" / "sentiment" / language
    # Not `splitlines`: tweets can have other line separators in them.
    texts = (folder / "val_text.txt").read_text("utf-8").rstrip("\n").split("\n")
    labels = (folder / "val_labels.txt").read_text("utf-8").split()
    pairs = zip(texts, labels, strict=True)
    return [{"text": text.strip(), "label": _LABELS[label]} for text, label in pairs]


def sentimix_rows(file: Path) -> Iterator[Row]:
    """Yield the tweets of a file in CoNLL form, a line for each token."""
    for block in file.read_text("utf-8").split("\n\n"):
        head, *lines = [line.split("\t") for line in block.split("\n") if line] or [[""]]
        if head[0] == "meta" and head[-1] in _LABELS.values():
            yield {"text": joined(line[0] for line in lines), "label": head[-1]}


def joined(tokens: Iterable[str]) -> str:
    """Return a tweet as the other sources have them: links are `http`, names are `@user`."""
    text = _NAME.sub("@user", _LINK.sub("http", " ".join(tokens)))
    return _TAG.sub("#", text).strip()


def distinct(rows: Iterable[Row]) -> list[Row]:
    """Return rows of a few letters at least, and of those with the same letters the first one."""
    by_letters: dict[str, Row] = {}
    for row in rows:
        by_letters.setdefault(letters(row["text"]), row)
    return [row for key, row in by_letters.items() if len(key) >= _LEAST_LETTERS]


def _read(file: Path) -> list[Row]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
