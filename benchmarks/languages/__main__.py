"""Detectors of languages beside each other: accuracy, time, memory; and what ours costs an engine.

    python -m benchmarks.languages FILE… [--every N] [--only NAME…] [--engine] [--json]

A file has a JSON object a line (`.gz` too), with `text` and `lang`: a code of ISO 639-1 or an
English name. `FILE=CODE` gives all rows of a file that language. Each detector runs in a process of
its own, and reads the texts as the worker's does: in lower case, without names of users and links.
Those that are not installed are left out: py3langid, gcld3 (or cld3-py), eldc, and
lingua-language-detector, with all languages that each of them knows.

`told as another` is what a worker would do to texts in a supported language: the share whose most
likely language is another, with at least the default `min_language_confidence`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from benchmarks.figures import argument_parser
from benchmarks.languages.detectors import DETECTORS
from benchmarks.languages.measuring import BANDS, engine_share, measure, rows_of


def main() -> None:
    """Print the figures of each detector: a table, or one JSON object."""
    options = _options()
    rows = [row for file in options.files for row in rows_of(file)][:: options.every]
    if options.child:
        print(json.dumps(measure(options.child, rows)))
        return
    detectors = {name: _in_child(name) for name in options.only or DETECTORS}
    report: dict[str, Any] = {
        "rows": len(rows),
        "detectors": {name: figures for name, figures in detectors.items() if figures},
    }
    if options.engine:
        report["engine"] = engine_share([row.text for row in rows if row.language == "en"])
    if options.json:
        print(json.dumps(report))
    else:
        _show(report)


def _options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE[=CODE]", help="rows with text and lang")
    parser.add_argument("--every", type=int, default=1, help="take one row in N (%(default)s)")
    parser.add_argument(
        "--only", action="append", choices=[*DETECTORS], help="measure this detector"
    )
    parser.add_argument(
        "--engine", action="store_true", help="compare with the bundled model's time (one thread)"
    )
    parser.add_argument("--child", choices=[*DETECTORS], help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_child(name: str) -> dict[str, Any] | None:
    """Measure a detector in a new process; return None if it is not installed."""
    command = [sys.executable, "-m", "benchmarks.languages", *sys.argv[1:], "--child", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] | None = json.loads(done.stdout)
    return figures


def _show(report: dict[str, Any]) -> None:
    languages = sorted({each for one in report["detectors"].values() for each in one["accuracy"]})
    print(f"{report['rows']:,} rows\n")
    heads = ("us/text", "load s", "MiB", *languages)
    print(f"{'accuracy, per cent':<24}", *(f"{head:>8}" for head in heads))
    for name, one in report["detectors"].items():
        values = (one["us_per_text"], one["load_s"], one["memory_mib"])
        shares = [one["accuracy"].get(language, "") for language in languages]
        print(f"{name:<24}", *(f"{value:>8}" for value in (*values, *shares)))
    for key in ("told_as_another", "told_as_not_english"):
        print(f"\n{key.replace('_', ' '):<24}", *(f"{language:>8}" for language in languages))
        for name, one in report["detectors"].items():
            print(f"{name:<24}", *(f"{one[key].get(each, ''):>8}" for each in languages))
    print(f"\n{'accuracy by characters':<24} {'':<4}", *(f"{band:>8}" for band in BANDS))
    for name, one in report["detectors"].items():
        for language, shares in one["accuracy_by_length"].items():
            print(f"{name:<24} {language:<4}", *(f"{shares.get(band, ''):>8}" for band in BANDS))
    for name, value in report.get("engine", {}).items():
        print(f"engine, {name:<24} {value:>8}")


if __name__ == "__main__":
    main()
