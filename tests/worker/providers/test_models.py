"""Several models in one worker: jobs ask for one by name, and texts are sent to one by language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sentq.contract import ErrorCode, JobOptions, Limits, Prediction, TextError
from sentq.errors import SettingsError
from sentq_worker.app import make_worker_app
from sentq_worker.engine.base import ModelUnavailable
from sentq_worker.engine.provider import ScoredJob
from sentq_worker.providers.languages import language_routes
from sentq_worker.providers.loading import check_model_memory, load_others, load_scorer
from sentq_worker.providers.local import LocalProvider
from sentq_worker.settings import WorkerSettings
from tests.support.models.providers import ScriptedJob
from tests.support.models.tiny import make_tiny_model

ENGLISH = "It was a good day."
GERMAN = "Das Zimmer war schmutzig und das Frühstück kalt."
FRENCH = "La chambre était sale et le petit déjeuner était froid."
SPANISH = "La habitación estaba sucia y el desayuno estaba frío."


@pytest.fixture(scope="module")
def german_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two labels of its own, whose card names German and French."""
    folder = make_tiny_model(
        tmp_path_factory.mktemp("models") / "german", labels=("schlecht", "gut"), seed=7
    )
    (folder / "README.md").write_text("---\nlanguage:\n- de\n- fr\n---\n# A model\n")
    return folder


def _settings(tiny_model: Path, german_model: Path, **more: Any) -> WorkerSettings:
    models = {"german": {"model": str(german_model)}}
    given: dict[str, Any] = {"languages": "en", "on_other_language": "route", "models": models}
    return WorkerSettings.load(**{"model": str(tiny_model), "threads": 1, **given, **more})


def _provider(settings: WorkerSettings) -> LocalProvider:
    provider = LocalProvider(
        lambda: load_scorer(settings, Limits()), load_others(load_scorer, settings, Limits())
    )
    provider.start()
    return provider


def _job(*texts: object, model: str | None = None) -> ScriptedJob:
    return ScriptedJob(texts, asked=JobOptions(model=model))


def test_each_text_is_scored_by_the_model_of_its_job_or_of_its_language(
    tiny_model: Path, german_model: Path
) -> None:
    settings = _settings(tiny_model, german_model)
    provider = _provider(settings)
    replies = provider.score(
        [
            _job(GERMAN, ENGLISH, 5, FRENCH, SPANISH),
            _job(GERMAN, model="german"),
            _job(GERMAN, ENGLISH, model="main"),
            _job(ENGLISH, GERMAN, model="absent"),
            _job(GERMAN),
        ]
    )
    infos = provider.models
    assert list(infos) == ["main", "german"]
    by_language, named, main, absent, alone = replies
    for reply, model in ((by_language, "main"), (named, "german"), (main, "main")):
        assert isinstance(reply, ScoredJob)
        assert reply.info == infos[model]

    assert isinstance(by_language, ScoredJob)
    german, english, number, french, spanish = by_language.outcomes
    assert isinstance(number, TextError)
    assert number.code is ErrorCode.NOT_A_STRING
    for outcome, language in ((german, "de"), (french, "fr")):
        assert isinstance(outcome, Prediction)
        assert (outcome.model, outcome.revision) == ("german", infos["german"].revision)
        assert (outcome.language, outcome.language_supported) == (language, True)
        assert set(outcome.scores) == {"schlecht", "gut"}
    assert isinstance(named, ScoredJob)
    (asked,) = named.outcomes
    assert isinstance(german, Prediction)
    assert isinstance(asked, Prediction)
    assert asked == german.model_copy(update={"model": None, "revision": None})
    # No model reads Spanish, so the main one scores it.
    for outcome, supported in ((english, True), (spanish, False)):
        assert isinstance(outcome, Prediction)
        assert (outcome.model, outcome.language_supported) == (None, supported)
    assert isinstance(alone, ScoredJob)
    assert alone.outcomes == [german]

    assert isinstance(main, ScoredJob)
    assert [each.language_supported for each in main.outcomes if isinstance(each, Prediction)] == [
        False,
        True,
    ]
    assert isinstance(absent, ScoredJob)
    for outcome in absent.outcomes:
        assert isinstance(outcome, TextError)
        assert outcome.code is ErrorCode.UNKNOWN_MODEL
        assert "it has main, german" in outcome.message
    assert provider.counts.model_texts == {"main": 5, "german": 4}


def test_models_that_cannot_be_loaded_end_the_start_with_the_name_of_a_setting(
    tiny_model: Path, german_model: Path
) -> None:
    missing = _settings(tiny_model, german_model, models={"absent": {"model": "./nowhere"}})
    with pytest.raises(
        ModelUnavailable, match=r"^\[worker\.models\.absent\] \./nowhere is neither"
    ):
        load_others(load_scorer, missing, Limits())["absent"]()
    too_large = _settings(tiny_model, german_model, max_model_bytes=100_000)
    with pytest.raises(ModelUnavailable, match="raise SENTQ_WORKER_MAX_MODEL_BYTES"):
        check_model_memory(too_large, ["main", "german"])
    check_model_memory(_settings(tiny_model, german_model), ["main", "german"])
    unstated = _settings(tiny_model, german_model, models={"other": {"model": str(tiny_model)}})
    with pytest.raises(
        ModelUnavailable, match=r"set languages in a table \[worker\.models\.NAME\]"
    ):
        language_routes(unstated)
    with pytest.raises(SettingsError, match=r'on_other_language = "route" needs another model'):
        make_worker_app(worker_settings=WorkerSettings.load(on_other_language="route"))
    for name in ("main", "two words"):
        with pytest.raises(SettingsError, match=r"worker\.models"):
            WorkerSettings.load(models={name: {"model": "x"}})
