"""Write labelled sentences from patterns.toml: ratings, complaints, facts, opinions, business news.

    python model/recipe/more_statements.py OUT.jsonl.gz train
    python model/recipe/more_statements.py FOLDER aside

`train` writes the rows to learn from, `aside` a file for each kind with rows to measure on: other
patterns, filled in with other words. Annotated data call a sentence negative that has words of
blame. In these rows "We waited an hour for our soup" is negative, "1/5" is negative and "Page 1/5"
is neutral. No row is a text of the behaviour suite. All rows follow from a fixed seed.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import tomllib
from pathlib import Path
from typing import Any

from aside import letters
from statements import fill_in, informal

from sentq_worker.evaluate.behaviour import load_cases

#: Rows of a label of a kind, before duplicates are dropped.
ROWS = {"train": 900, "aside": 150}

#: Ratings at least this share of the best one are positive, at most that one negative. Those around
#: the middle are neutral. Between these, readers disagree.
GOOD, BAD = 0.74, 0.4
MIDDLE = (0.5, 0.6)

#: The tenths that a rating may have. Those of the rows set aside were never trained on.
TENTHS = {"train": (0, 0, 0, 0, 2, 5, 6), "aside": (0, 3, 4, 7, 8, 9)}

_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_GRADES = {
    "positive": ("A+", "A", "A-", "an A", "A plus", "1st class"),
    "neutral": ("C", "C+", "a C", "average"),
    "negative": ("F", "D", "D-", "an F", "E", "fail"),
}
_THUMBS = {
    "positive": ("Two thumbs up", "Thumbs up", "Both thumbs up", "A big thumbs up"),
    "negative": ("Two thumbs down", "Thumbs down", "Both thumbs down", "A big thumbs down"),
    "neutral": ("Thumbs sideways", "One thumb up, one thumb down"),
}


def side_of(share: float) -> str | None:
    """Return the label of a rating by its share of the best one, or None where readers disagree."""
    if share >= GOOD:
        return "positive"
    if share <= BAD:
        return "negative"
    return "neutral" if MIDDLE[0] <= share <= MIDDLE[1] else None


def rating(label: str, best: int, part: str, chance: random.Random) -> tuple[str, bool]:
    """Return a number of this side on a scale, and whether it is one."""
    while True:
        number = chance.randrange(best + 1) + chance.choice(TENTHS[part]) / 10
        if number <= best and side_of(number / best) == label:
            break
    if number == int(number) <= len(_NUMBERS) - 1 and chance.random() < 0.25:  # noqa: PLR2004
        return _NUMBERS[int(number)], number == 1
    return f"{number:g}", number == 1


def score(label: str, part: str, chance: random.Random) -> str:
    """Return a rating on a scale, such as "4.5/5"."""
    best = chance.choice((5, 5, 5, 10, 10, 10, 100))
    number, _ = rating(label, best, part, chance)
    if not number[0].isdigit():
        words = _NUMBERS[best] if best < len(_NUMBERS) else str(best)
        return f"{number} out of {words}"
    return f"{number}{chance.choice(('/', '/', ' / ', ' out of ', ' out of ', ' of '))}{best}"


def stars(label: str, part: str, chance: random.Random) -> str:
    """Return a rating in stars, such as "one star" or "★★★★★"."""
    number, is_one = rating(label, 5, part, chance)
    form = chance.random()
    if form < 0.15 and number.isdigit():  # noqa: PLR2004
        return "★" * int(number) + "☆" * (5 - int(number))
    if form < 0.4:  # noqa: PLR2004
        return f"{number} {chance.choice(('out of', 'of'))} {chance.choice(('5', 'five'))} stars"
    return f"{number} {'star' if is_one else 'stars'}"


def percent(label: str, chance: random.Random) -> str:
    """Return a rating in per cent."""
    low, high = {"positive": (80, 100), "neutral": (48, 55), "negative": (0, 30)}[label]
    return f"{chance.randint(low, high)}{chance.choice(('%', '%', ' %', ' percent'))}"


def with_rating(pattern: str, label: str, part: str, chance: random.Random) -> str:
    """Fill in the rating of a pattern."""
    made = {
        "{score}": score(label, part, chance),
        "{stars}": stars(label, part, chance),
        "{percent}": percent(label, chance),
        "{grade}": chance.choice(_GRADES[label]),
        "{thumbs}": chance.choice(_THUMBS[label]),
    }
    for slot, text in made.items():
        pattern = pattern.replace(slot, text)
    return pattern


def statements(part: str, seed: int = 1) -> list[dict[str, str]]:
    """Return all rows of a part, "train" or "aside", each text once."""
    suite = {letters(text) for case in load_cases() for text in case.texts}
    chance = random.Random(f"{part}:{seed}")  # noqa: S311 - the same rows every time
    document: dict[str, Any] = tomllib.loads(
        Path(__file__).with_name("patterns.toml").read_text(encoding="utf-8")
    )
    words = document.pop("words")[part]
    rows: dict[str, dict[str, str]] = {}
    for kind, parts in document.items():
        patterns = parts[part]
        sided = patterns.pop("sided", None)
        groups = [(label, each) for label, each in patterns.items()]
        groups += [(label, sided) for label in ("negative", "neutral", "positive") if sided]
        for label, each in groups:
            for number in range(ROWS[part]):
                pattern = with_rating(each[number % len(each)], label, part, chance)
                text = informal(fill_in(pattern, chance, words), chance)
                if letters(text) not in suite:
                    rows.setdefault(text, {"text": text, "label": label, "kind": kind})
    return list(rows.values())


def main(out: Path, part: str) -> None:
    """Write the rows."""
    rows = statements(part)
    kinds = {row["kind"] for row in rows}
    files = {out: rows}
    if part == "aside":
        out.mkdir(parents=True, exist_ok=True)
        files = {
            out / f"statements_{kind}.jsonl.gz": [row for row in rows if row["kind"] == kind]
            for kind in kinds
        }
    for path, each in files.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in each)
        path.write_bytes(gzip.compress(lines.encode(), mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
