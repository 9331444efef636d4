"""The rule of languages: from the settings, or from the card of the model."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import sentq_model
from sentq.contract import ErrorCode, Limits, Prediction, TextError
from sentq.errors import SettingsError
from sentq_worker.engine.base import ModelUnavailable
from sentq_worker.inference.model_config import stated_languages
from sentq_worker.providers.languages import language_rule, languages_of_local_model
from sentq_worker.providers.loading import load_scorer
from sentq_worker.scoring.language_rule import TextLanguage
from sentq_worker.settings import WorkerSettings

GERMAN = "Das Zimmer war schmutzig und das Frühstück kalt."


def _supported(rule: object, text: str) -> bool | None:
    assert rule is not None
    examined = rule.examine(text)  # type: ignore[attr-defined]
    assert isinstance(examined, TextLanguage)
    return examined.is_supported


def test_the_card_of_the_bundled_model_names_english() -> None:
    assert stated_languages(Path(sentq_model.folder())) == ("en",)


def test_the_languages_of_the_card_hold_unless_they_are_set() -> None:
    assert _supported(language_rule(WorkerSettings.load(), ["en"]), GERMAN) is False
    set_to_both = WorkerSettings.load(languages="de, en")
    assert _supported(language_rule(set_to_both, ["en"]), GERMAN) is True


def test_no_language_is_detected_without_languages_or_if_all_texts_are_scored() -> None:
    assert language_rule(WorkerSettings.load(), None) is None
    assert language_rule(WorkerSettings.load(languages=","), ["en"]) is None
    assert language_rule(WorkerSettings.load(on_other_language="score"), ["en"]) is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"on_other_language": "refuse"}, "set SENTQ_WORKER_LANGUAGES, such as en,fr"),
        ({"languages": "en,xx"}, "the languages xx cannot be detected"),
    ],
)
def test_settings_that_cannot_hold_end_the_start(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelUnavailable, match=says):
        language_rule(WorkerSettings.load(**settings), None)


def test_a_card_with_a_language_that_cannot_be_detected_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert language_rule(WorkerSettings.load(), ["en", "xx"]) is None
    assert "the languages xx cannot be detected" in caplog.text


def test_without_the_detector_a_worker_starts_unless_it_shall_refuse_texts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)
    with caplog.at_level(logging.WARNING):
        assert language_rule(WorkerSettings.load(), ["en"]) is None
    assert "fasttext is not installed" in caplog.text
    stricter: list[dict[str, Any]] = [{"on_other_language": "refuse"}, {"languages": "en"}]
    for settings in stricter:
        with pytest.raises(ModelUnavailable, match=r'pip install "sentq\[worker\]"'):
            language_rule(WorkerSettings.load(**settings), ["en"])


@pytest.mark.parametrize("languages", ["english", "EN", "en-GB", "e"])
def test_a_language_is_set_by_its_code(languages: str) -> None:
    with pytest.raises(SettingsError, match=r"worker\.languages"):
        WorkerSettings.load(languages=languages)


def test_a_worker_of_the_hub_alone_has_the_languages_that_are_set() -> None:
    settings = WorkerSettings.load(provider="hub", languages="de")
    assert _supported(language_rule(settings, languages_of_local_model(settings)), GERMAN) is True


def test_any_model_can_be_given_languages(tiny_model: Path) -> None:
    settings = WorkerSettings.load(
        model=str(tiny_model), languages="en", on_other_language="refuse", threads=1
    )
    good, refused = load_scorer(settings, Limits()).score([["It was a good day.", GERMAN]])[0]
    assert isinstance(good, Prediction)
    assert (good.language, good.language_supported) == ("en", True)
    assert isinstance(refused, TextError)
    assert refused.code is ErrorCode.UNSUPPORTED_LANGUAGE


def test_a_model_that_states_its_languages_has_them_told(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "README.md").write_text("---\nlanguage:\n- fr\n---\n# A model\n")
    settings = WorkerSettings.load(model=str(folder), threads=1)
    (outcome,) = load_scorer(settings, Limits()).score([[GERMAN]])[0]
    assert isinstance(outcome, Prediction)
    assert (outcome.language, outcome.language_supported) == ("de", False)


def test_the_hub_has_the_languages_of_the_local_model_beside_it(tiny_model: Path) -> None:
    assert languages_of_local_model(WorkerSettings.load(provider="prefer-local")) == ("en",)
    assert languages_of_local_model(WorkerSettings.load(provider="hub")) is None
    one_queue = WorkerSettings.load(provider="hub", queue_providers={"sentq.bulk": "local"})
    assert languages_of_local_model(one_queue) == ("en",)
    unstated = WorkerSettings.load(provider="prefer-local", model=str(tiny_model))
    assert languages_of_local_model(unstated) is None
    missing = WorkerSettings.load(provider="prefer-local", model="./no-such-model")
    assert languages_of_local_model(missing) is None
