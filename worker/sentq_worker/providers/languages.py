"""From the settings to the rule of languages: those of the settings, or of the model's card."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sentq_worker.engine.base import ModelUnavailable
from sentq_worker.inference.model_config import stated_languages
from sentq_worker.inference.model_files import find_model
from sentq_worker.scoring.language_detector import LanguageDetector
from sentq_worker.scoring.language_rule import LanguageRule
from sentq_worker.settings import WorkerSettings

__all__ = ["language_rule", "languages_of_local_model"]

logger = logging.getLogger(__name__)


def language_rule(settings: WorkerSettings, stated: Sequence[str] | None) -> LanguageRule | None:
    """Return the rule of languages; None if no languages are detected.

    Args:
        settings: The worker's settings.
        stated: The languages that the model's card names; None if it names none.

    Raises:
        ModelUnavailable: The settings ask for what is not possible: the languages of the model are
            not known, one of them cannot be detected, or the detector is not installed.
    """
    if settings.on_other_language == "score":
        return None
    refuses = settings.on_other_language == "refuse"
    supported = stated if settings.languages is None else settings.languages
    if not supported:
        if refuses:
            raise ModelUnavailable(
                "SENTQ_WORKER_ON_OTHER_LANGUAGE=refuse needs the languages of the model, and its "
                "card names none: set SENTQ_WORKER_LANGUAGES, such as en,fr"
            )
        return None
    try:
        return LanguageRule(
            _detector_of(supported),
            supported,
            refuses=refuses,
            min_confidence=settings.min_language_confidence,
        )
    except ModelUnavailable as error:
        if refuses or settings.languages is not None:
            raise
        logger.warning("outcomes name no languages: %s", error)
        return None


def languages_of_local_model(settings: WorkerSettings) -> tuple[str, ...] | None:
    """Return the languages that the card of the local model names; None without such a model.

    They hold for the Hub's model too: both score the same jobs, with the same labels.
    """
    if {settings.provider, *settings.queue_providers.values()} == {"hub"}:
        return None
    try:
        return stated_languages(find_model(settings.model, settings.revision).folder)
    except ModelUnavailable:
        return None


def _detector_of(languages: Sequence[str]) -> LanguageDetector:
    try:
        detector = LanguageDetector()
    except ModuleNotFoundError as error:
        raise ModelUnavailable(
            f"{error.name} is not installed, and languages are detected with it: pip install "
            '"sentq[worker]", or set SENTQ_WORKER_ON_OTHER_LANGUAGE=score'
        ) from error
    if unknown := sorted(set(languages) - detector.codes):
        raise ModelUnavailable(
            f"the languages {', '.join(unknown)} cannot be detected: set SENTQ_WORKER_LANGUAGES to "
            "codes of ISO 639-1, or SENTQ_WORKER_ON_OTHER_LANGUAGE=score"
        )
    return detector
