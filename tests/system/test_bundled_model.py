"""The bundled model: the default, equal in all libraries that load it, and accurate."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import sentq_model
from sentq.cli.demo import Review, load_reviews
from sentq.contract import Limits, Outcome, Prediction
from sentq_worker.inference.model_files import find_model
from sentq_worker.providers.loading import load_scorer
from sentq_worker.scoring.scorer import EngineScorer
from sentq_worker.settings import WorkerSettings
from tests.support.models.reference import pipeline_scores


@pytest.fixture(scope="module")
def scorer() -> EngineScorer:
    return load_scorer(WorkerSettings.load(), Limits())


@pytest.fixture(scope="module")
def scored(scorer: EngineScorer) -> list[tuple[Review, Outcome]]:
    reviews = load_reviews()
    return list(zip(reviews, scorer.score([[r.text for r in reviews]])[0], strict=True))


def test_the_bundled_model_is_the_default_and_small_and_has_a_model_card() -> None:
    files = find_model(None)
    assert files.folder == Path(sentq_model.folder())
    assert (files.folder / "model.safetensors").stat().st_size <= 50_000_000
    card = (files.folder / "README.md").read_text()
    for part in ("licen", "limits", "Apache-2.0"):
        assert part.lower() in card.lower()


@pytest.mark.slow
def test_the_pipeline_of_transformers_agrees_on_200_texts() -> None:
    # `auto` may select bfloat16, which the pipeline does not use.
    scorer = load_scorer(WorkerSettings.load(dtype="float32"), Limits())
    texts = _texts()
    assert len(texts) == 200
    expected = pipeline_scores(sentq_model.folder(), texts)
    for outcome, scores in zip(scorer.score([texts])[0], expected, strict=True):
        assert isinstance(outcome, Prediction)
        assert outcome.scores == pytest.approx(scores, abs=1e-4)


@pytest.mark.slow
def test_bfloat16_changes_scores_slightly_and_hardly_any_label() -> None:
    rounded = load_scorer(WorkerSettings.load(dtype="bfloat16"), Limits())
    exact = load_scorer(WorkerSettings.load(dtype="float32"), Limits())
    flips = 0
    for near, known in zip(rounded.score([_texts()])[0], exact.score([_texts()])[0], strict=True):
        assert isinstance(near, Prediction)
        assert isinstance(known, Prediction)
        assert near.scores == pytest.approx(known.scores, abs=0.03)
        flips += near.label != known.label
    assert flips <= 1


def _texts() -> list[str]:
    reviews = [review.text for review in load_reviews() if len(review.text.split()) < 300]
    return [text for text in reviews if text] + ["Superb!", "It opened in 1998."]


def test_the_bundled_model_agrees_with_human_labels_on_most_reviews(
    scored: list[tuple[Review, Outcome]],
) -> None:
    judged = [
        isinstance(outcome, Prediction) and outcome.label == review.expect
        for review, outcome in scored
        if review.expect is not None
    ]
    assert len(judged) > 180
    assert sum(judged) / len(judged) >= 0.92  # 0.95 at its training


def test_the_longest_review_is_read_to_its_end_and_an_empty_one_is_an_error(
    scored: list[tuple[Review, Outcome]],
) -> None:
    windows = {r.id: o.windows for r, o in scored if isinstance(o, Prediction)}
    assert sorted(windows.values())[-2:] == [1, 2]
    assert [r.text for r, o in scored if not isinstance(o, Prediction)] == [""]


def test_the_languages_of_reviews_are_told(scored: list[tuple[Review, Outcome]]) -> None:
    predictions = {r.text: o for r, o in scored if isinstance(o, Prediction)}
    others = {o.language for o in predictions.values() if o.language_supported is False}
    assert others == {"ar", "el", "hi", "ja", "ru", "zh"}
    assert all(o.language == "en" for o in predictions.values() if o.language_supported)
    assert predictions["😍😍😍"].language is None


@pytest.mark.slow
def test_the_command_shows_the_bundled_model() -> None:
    shown = _sentq_worker("model")
    for part in ("sentq-model", "sha256:", "negative, neutral, positive", "512 tokens", " en\n"):
        assert part in shown
    assert re.search("bfloat16|float32", shown)
    assert _sentq_worker("model", "--path").strip() == sentq_model.folder()


def _sentq_worker(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "sentq_worker", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
