"""From the settings to the rule of languages: those of the settings, or of the models' cards."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from sentq.contract import MAIN_MODEL
from sentq_worker.engine.base import ModelUnavailable
from sentq_worker.inference.model_config import stated_languages
from sentq_worker.inference.model_files import find_model
from sentq_worker.scoring.language_detector import LanguageDetector
from sentq_worker.scoring.language_rule import LanguageRule
from sentq_worker.settings import WorkerSettings

__all__ = [
    "language_routes",
    "language_rule",
    "languages_of_local_model",
    "settings_of_model",
    "settings_of_rolled",
]

logger = logging.getLogger(__name__)


def settings_of_model(settings: WorkerSettings, name: str) -> WorkerSettings:
    """Return the settings of a worker with one of its further models alone.

    A text that is sent to it is in a language that it reads, or its job asks for it, so it routes
    nothing.
    """
    rule = "flag" if settings.on_other_language == "route" else settings.on_other_language
    alone: dict[str, object] = {"models": {}, "max_model_bytes": None, "on_other_language": rule}
    return settings_of_rolled(settings, name).model_copy(update=alone)


def settings_of_rolled(settings: WorkerSettings, name: str) -> WorkerSettings:
    """Return the settings of a worker with one of its further models in place of the main one."""
    if name == MAIN_MODEL:
        return settings
    model = settings.models[name]
    own: dict[str, object] = {"revision": None, "window_tokens": None, "languages": None}
    given = {key: value for key, value in model.__dict__.items() if value is not None}
    del given["load"]
    return settings.model_copy(update=own | given)


def language_routes(settings: WorkerSettings) -> dict[str, str]:
    """Return the name of the model that scores texts in a language, by language: the first of the
    further models that reads it. Empty unless texts are routed, and for a model alone.

    Raises:
        ModelUnavailable: Texts are routed, and no further model reads a known language.
    """
    if settings.on_other_language != "route" or not settings.models:
        return {}
    routes: dict[str, str] = {}
    for name, model in settings.models_at_start.items():
        languages = model.languages or _stated(model.model, model.revision)
        for language in languages or ():
            routes.setdefault(language, name)
    if not routes:
        raise ModelUnavailable(
            "SENTQ_WORKER_ON_OTHER_LANGUAGE=route needs another model that reads some languages, "
            "and no card of one names any: set languages in a table [worker.models.NAME]"
        )
    return routes


def language_rule(
    settings: WorkerSettings,
    stated: Sequence[str] | None,
    *,
    routes: Mapping[str, str] = MappingProxyType({}),
) -> LanguageRule | None:
    """Return the rule of languages; None if no languages are detected.

    Args:
        settings: The worker's settings.
        stated: The languages that the model's card names; None if it names none.
        routes: The names of the models that score texts in other languages, by language.

    Raises:
        ModelUnavailable: The settings ask for what is not possible: the languages of the model are
            not known, one of them cannot be detected, or the detector is not installed.
    """
    if settings.on_other_language == "score":
        return None
    refuses = settings.on_other_language == "refuse"
    is_needed = refuses or bool(routes)
    supported = stated if settings.languages is None else settings.languages
    if not supported:
        if is_needed:
            raise ModelUnavailable(
                f"SENTQ_WORKER_ON_OTHER_LANGUAGE={settings.on_other_language} needs the languages "
                "of the model, and its card names none: set SENTQ_WORKER_LANGUAGES, such as en,fr"
            )
        return None
    try:
        return LanguageRule(
            _detector_of([*supported, *routes]),
            supported,
            refuses=refuses,
            min_confidence=settings.min_language_confidence,
            routes=routes,
        )
    except ModelUnavailable as error:
        if is_needed or settings.languages is not None:
            raise
        logger.warning("outcomes name no languages: %s", error)
        return None


def languages_of_local_model(settings: WorkerSettings) -> tuple[str, ...] | None:
    """Return the languages that the card of the local model names; None without such a model.

    They hold for the Hub's model too: both score the same jobs, with the same labels.
    """
    if settings.policies == {"hub"}:
        return None
    try:
        return _stated(settings.model, settings.revision)
    except ModelUnavailable:
        return None


def _stated(model: str | None, revision: str | None) -> tuple[str, ...] | None:
    return stated_languages(find_model(model, revision).folder)


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
