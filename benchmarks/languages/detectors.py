"""The detectors that are compared. Each reads what the worker's detector reads of a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sentq_worker.scoring.language_detector import LanguageDetector, readable

__all__ = ["DETECTORS", "Detect"]

#: Returns the most likely language of a text and its confidence.
Detect = Callable[[str], tuple[str, float]]


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


#: How each detector is made, by its name. It raises ModuleNotFoundError if it is not installed.
DETECTORS: Final[dict[str, Callable[[], Detect]]] = {
    "sentq": _sentq,
    "py3langid": _py3langid,
    "gcld3": _gcld3,
    "eldc": _eldc,
    "lingua, low accuracy": lambda: _lingua(fast=True),
    "lingua": lambda: _lingua(fast=False),
}
