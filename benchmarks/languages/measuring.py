"""Rows of texts whose language is known, and the figures of a detector on them."""

from __future__ import annotations

import gzip
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.languages.detectors import DETECTORS
from sentq.contract import Limits
from sentq_worker.providers.loading import load_scorer
from sentq_worker.scoring.language_detector import LanguageDetector
from sentq_worker.settings import WorkerSettings

__all__ = ["BANDS", "TextInLanguage", "engine_share", "measure", "rows_of"]

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

#: The most characters of the texts of all bands of lengths but the last one.
_MOST_CHARS: Final = (20, 40, 80)
_LONGER: Final = "longer"

#: The names of the bands of lengths.
BANDS: Final = (*(f"to {most}" for most in _MOST_CHARS), _LONGER)

_CERTAIN: Final = WorkerSettings.model_fields["min_language_confidence"].default


class TextInLanguage(NamedTuple):
    """A text, and the language that it is in."""

    text: str
    language: str


def rows_of(file: str) -> Iterator[TextInLanguage]:
    """Yield the texts of FILE, or of FILE=CODE, with their languages."""
    name, _, code = file.partition("=")
    path = Path(name)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            row = json.loads(line)
            language = code or row["lang"]
            yield TextInLanguage(row["text"], _CODES.get(language, language))


def measure(name: str, rows: Sequence[TextInLanguage]) -> dict[str, Any] | None:
    """Return the figures of a detector: times, memory, and shares in per cent by language. None if
    it is not installed."""
    before_mib, started_s = _memory_mib(), time.process_time()
    try:
        detect = DETECTORS[name]()
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
    return next((f"to {band}" for band in _MOST_CHARS if len(text) <= band), _LONGER)


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


def engine_share(texts: Sequence[str]) -> dict[str, float]:
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
