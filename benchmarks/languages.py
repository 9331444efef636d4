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
import gzip
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.figures import argument_parser
from sentq.contract import Limits
from sentq_worker.providers.loading import load_scorer
from sentq_worker.scoring.language_detector import LanguageDetector, readable
from sentq_worker.settings import WorkerSettings

#: Returns the most likely language of a text and its confidence.
Detect = Callable[[str], tuple[str, float]]

_CODES: Final = {
    "arabic": "ar",
    "english": "en",
    "french": "fr",
    "german": "de",
    "hindi": "hi",
    "italian": "it",
    "portuguese": "pt",
    "spanish": "es",
}

#: The most characters of a text of each band of lengths.
_BANDS: Final = (20, 40, 80)
_LONGER: Final = "longer"

_CERTAIN: Final = WorkerSettings.model_fields["min_language_confidence"].default


class Row(NamedTuple):
    """A text, and the language that it is in."""

    text: str
    language: str


def main() -> None:
    """Print the figures of each detector: a table, or one JSON object."""
    options = _options()
    rows = [row for file in options.files for row in _rows(file)][:: options.every]
    if options.child:
        print(json.dumps(_measure(options.child, rows)))
        return
    detectors = {name: _in_child(name) for name in options.only or _MAKE}
    report: dict[str, Any] = {
        "rows": len(rows),
        "detectors": {name: figures for name, figures in detectors.items() if figures},
    }
    if options.engine:
        report["engine"] = _engine_share([row.text for row in rows if row.language == "en"])
    if options.json:
        print(json.dumps(report))
    else:
        _show(report)


def _options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE[=CODE]", help="rows with text and lang")
    parser.add_argument("--every", type=int, default=1, help="take one row in N (%(default)s)")
    parser.add_argument("--only", action="append", choices=[*_MAKE], help="measure this detector")
    parser.add_argument(
        "--engine", action="store_true", help="compare with the bundled model's time (one thread)"
    )
    parser.add_argument("--child", choices=[*_MAKE], help=argparse.SUPPRESS)
    return parser.parse_args()


def _rows(file: str) -> Iterator[Row]:
    name, _, code = file.partition("=")
    path = Path(name)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            row = json.loads(line)
            language = code or row["lang"]
            yield Row(row["text"], _CODES.get(language, language))


# --- Detectors ------------------------------------------------------------------------------------


def _sentq() -> Detect:
    detector = LanguageDetector()

    def detect(text: str) -> tuple[str, float]:
        return detector.detect(text) or ("", 0.0)

    return detect


def _py3langid() -> Detect:
    from py3langid import langid

    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    return lambda text: identifier.classify(readable(text))


def _gcld3() -> Detect:
    import gcld3

    detector = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=4000)

    def detect(text: str) -> tuple[str, float]:
        found = detector.FindLanguage(readable(text))
        return found.language, found.probability

    return detect


def _eldc() -> Detect:
    import eldc

    eldc.init()

    def detect(text: str) -> tuple[str, float]:
        found = eldc.detect_details(readable(text))
        return found.language, max(found.scores.values(), default=0.0)

    return detect


def _lingua(*, fast: bool) -> Detect:
    from lingua import LanguageDetectorBuilder

    builder = LanguageDetectorBuilder.from_all_languages()
    detector = (builder.with_low_accuracy_mode() if fast else builder).build()

    def detect(text: str) -> tuple[str, float]:
        best = detector.compute_language_confidence_values(readable(text))[0]
        return best.language.iso_code_639_1.name.lower(), best.value

    return detect


_MAKE: Final[dict[str, Callable[[], Detect]]] = {
    "sentq": _sentq,
    "py3langid": _py3langid,
    "gcld3": _gcld3,
    "eldc": _eldc,
    "lingua, low accuracy": lambda: _lingua(fast=True),
    "lingua": lambda: _lingua(fast=False),
}


# --- Measuring ------------------------------------------------------------------------------------


def _in_child(name: str) -> dict[str, Any] | None:
    """Measure a detector in a new process; return None if it is not installed."""
    command = [sys.executable, "-m", "benchmarks.languages", *sys.argv[1:], "--child", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] | None = json.loads(done.stdout)
    return figures


def _measure(name: str, rows: Sequence[Row]) -> dict[str, Any] | None:
    before_mib, started_s = _memory_mib(), time.process_time()
    try:
        detect = _MAKE[name]()
        detect("The first text loads what is loaded late.")
    except ModuleNotFoundError:
        return None
    load_s, begun_s = time.process_time() - started_s, time.process_time()
    found = [detect(row.text) for row in rows]
    figures: dict[str, Any] = {
        "load_s": round(load_s, 3),
        "us_per_text": round((time.process_time() - begun_s) / len(rows) * 1e6, 1),
        "memory_mib": round(_memory_mib() - before_mib),
    }
    judged = [(row, *each) for row, each in zip(rows, found, strict=True)]
    return figures | {
        "accuracy": _shares((row.language, code[:2] == row.language) for row, code, _ in judged),
        "accuracy_by_length": {
            language: _shares(
                (_band(row.text), code[:2] == row.language)
                for row, code, _ in judged
                if row.language == language
            )
            for language in sorted({row.language for row in rows})
        },
        "told_as_another": _shares(
            (row.language, code[:2] != row.language and confidence >= _CERTAIN)
            for row, code, confidence in judged
        ),
        "told_as_not_english": _shares(
            (row.language, code[:2] != "en" and confidence >= _CERTAIN)
            for row, code, confidence in judged
        ),
    }


def _band(text: str) -> str:
    return next((f"to {band}" for band in _BANDS if len(text) <= band), _LONGER)


def _shares(judged: Iterable[tuple[str, bool]]) -> dict[str, float]:
    """Return per cent of true judgements for each name."""
    counts: defaultdict[str, list[bool]] = defaultdict(list)
    for name, is_true in judged:
        counts[name].append(is_true)
    return {name: round(100 * sum(each) / len(each), 2) for name, each in sorted(counts.items())}


def _memory_mib() -> float:
    """Return the resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def _engine_share(texts: Sequence[str]) -> dict[str, float]:
    """Return the CPU time of the engine for a text, and of the detection, in turns."""
    scorer = load_scorer(WorkerSettings.load(threads=1, on_other_language="score"), Limits())
    detector = LanguageDetector()
    spent_s = {"engine": 0.0, "detection": 0.0}
    parts = [texts[start : start + 256] for start in range(0, len(texts), 256)]
    for part in parts:
        started_s = time.process_time()
        scorer.score([part])
        spent_s["engine"] += time.process_time() - started_s
        started_s = time.process_time()
        for text in part:
            detector.detect(text)
        spent_s["detection"] += time.process_time() - started_s
    return {
        "us_per_text": round(spent_s["engine"] / len(texts) * 1e6, 1),
        "detection_us_per_text": round(spent_s["detection"] / len(texts) * 1e6, 1),
        "detection_per_cent": round(100 * spent_s["detection"] / spent_s["engine"], 2),
    }


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
    bands = (*(f"to {band}" for band in _BANDS), _LONGER)
    print(f"\n{'accuracy by characters':<24} {'':<4}", *(f"{band:>8}" for band in bands))
    for name, one in report["detectors"].items():
        for language, shares in one["accuracy_by_length"].items():
            print(f"{name:<24} {language:<4}", *(f"{shares.get(band, ''):>8}" for band in bands))
    for name, value in report.get("engine", {}).items():
        print(f"engine, {name:<24} {value:>8}")


if __name__ == "__main__":
    main()
