"""Compare models by kind of text, on rows that were set aside.

    python model/recipe/kinds.py FOLDER MODEL ... [--json FILE]

Prints a table with a row for each .jsonl.gz file of FOLDER, and macro recall, macro F1 and expected
calibration error in per cent for each MODEL (a folder). Where no row is neutral, recall and F1 only
ask whether positive or negative is likelier.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from average import scored_by
from sklearn import metrics

from sentq_worker.evaluate.measures import measure
from sentq_worker.training.data.rows import Rows, read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sentq_worker.evaluate.scored import ScoredRows

COLUMNS = ("recall", "f1", "ece")


def figures(scored: ScoredRows, *, polar: bool) -> dict[str, float]:
    """Return the figures of a model on a file, in per cent."""
    guesses = scored.predicted
    if polar:
        sides = {number for number, label in enumerate(scored.labels) if label != "neutral"}
        guesses = [max(sides, key=row.__getitem__) for row in scored.probabilities]
    options = {"average": "macro", "labels": sorted(set(scored.targets)), "zero_division": 0}
    return {
        "recall": 100 * float(metrics.recall_score(scored.targets, guesses, **options)),
        "f1": 100 * float(metrics.f1_score(scored.targets, guesses, **options)),
        "ece": 100 * measure(scored).calibration.ece,
    }


def table(
    files: Sequence[Rows], names: Sequence[str], results: Mapping[str, Sequence[dict[str, float]]]
) -> str:
    """Return a Markdown table: by file name, the figures of each model."""
    heads = [f"{column} {name}" for column in COLUMNS for name in names]
    lines = [
        f"| kind of text | rows | {' | '.join(heads)} |",
        f"| --- | --- |{' --- |' * len(heads)}",
    ]
    for rows in files:
        each = results[rows.name]
        cells = [f"{one[column]:.1f}" for column in COLUMNS for one in each]
        lines.append(f"| {_kind(rows)} | {len(rows):,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Score all rows with each model, and print the table."""
    parser = argparse.ArgumentParser(description="Compare models by kind of text.")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    options = parser.parse_args()
    files = [read_rows(path) for path in sorted(options.folder.glob("*.jsonl.gz"))]
    by_model = [scored_by(model, files, threads=1) for model in options.models]
    results = {
        rows.name: [
            figures(scored[number], polar="neutral" not in rows.labels) for scored in by_model
        ]
        for number, rows in enumerate(files)
    }
    names = [model.name for model in options.models]
    print(table(files, names, results))  # noqa: T201
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _kind(rows: Rows) -> str:
    name = rows.name.partition(".")[0].replace("_", " ")
    return name if "neutral" in rows.labels else f"{name} (no neutral)"


if __name__ == "__main__":
    main()
