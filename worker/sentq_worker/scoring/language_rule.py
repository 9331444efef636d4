"""Which texts are in a language that the model reads, and what happens to the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from sentq.contract import ErrorCode, TextError
from sentq_worker.scoring.language_detector import Detection

__all__ = ["DetectsLanguages", "LanguageRule", "RoutedText", "TextLanguage"]


class DetectsLanguages(Protocol):
    """What a rule needs of a `LanguageDetector`."""

    def detect(self, text: str) -> Detection | None:
        """Return the most likely language of a text; None if it has no letters."""
        ...


class TextLanguage(NamedTuple):
    """The most likely language of a text, and whether the model reads it; None if that is not
    certain enough."""

    code: str
    confidence: float
    is_supported: bool | None


class RoutedText(TextError):
    """In place of the outcome of a text that another model reads, and shall score.

    Attributes:
        to: The name of that model.
    """

    to: str


class LanguageRule:
    """Examines the language of texts. Many threads may use it.

    Args:
        detector: Detects the language of a text.
        supported: The codes of the languages that the model reads.
        refuses: Whether a text in another language is an error. Otherwise it is scored.
        min_confidence: How probable a language must be, so that a text counts as written in it.
        routes: The names of the models that score texts in other languages, by language.
    """

    def __init__(
        self,
        detector: DetectsLanguages,
        supported: Collection[str],
        *,
        refuses: bool,
        min_confidence: float,
        routes: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._detector = detector
        self._supported = frozenset(supported)
        self._refuses = refuses
        self._min_confidence = min_confidence
        self._routes = routes

    def without_routes(self) -> LanguageRule:
        """Return the rule for texts that this model scores in any language."""
        return LanguageRule(
            self._detector,
            self._supported,
            refuses=self._refuses,
            min_confidence=self._min_confidence,
        )

    def examine(self, text: str) -> TextLanguage | TextError | None:
        """Return the language of a text.

        Returns:
            None if the text has no letters; the error of a text that is refused, or that another
            model scores.
        """
        detection = self._detector.detect(text)
        if detection is None:
            return None
        code, confidence = detection
        is_certain = confidence >= self._min_confidence
        is_supported = code in self._supported if is_certain else None
        if is_supported is False and (self._refuses or code in self._routes):
            error = ErrorCode.UNSUPPORTED_LANGUAGE
            reads = ", ".join(sorted(self._supported))
            message = (
                f"the text is in the language {code}, with a confidence of {confidence:.2f}; "
                f"the model reads {reads}"
            )
            if code in self._routes:
                return RoutedText(code=error, message=message, to=self._routes[code])
            return TextError(code=error, message=message)
        return TextLanguage(code, confidence, is_supported)
