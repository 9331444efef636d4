"""Model families: packed if supported, otherwise padded, with the same scores."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sentq.contract import Limits, Prediction
from sentq_worker.engine.base import ModelUnavailable, Window
from sentq_worker.inference.model import LocalEngine
from sentq_worker.inference.model_files import find_model
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings
from tests.support.models.families import PACKED, PADDED, make_family_model
from tests.support.models.reference import pipeline_scores
from tests.support.models.tiny import WORDS

pytestmark = pytest.mark.slow

#: Texts of many lengths, some of them equal, up to a full window of 64 tokens.
TEXTS = [" ".join(WORDS[i % 7 :][: 1 + i * 5 % 23]) for i in range(24)] + ["a film " * 31]


def _scores(model: Path, texts: list[str]) -> list[dict[str, float]]:
    scorer = load_scorer(WorkerSettings.load(model=str(model), threads=1), Limits())
    outcomes = scorer.score([texts])[0]
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    return [outcome.scores for outcome in outcomes if isinstance(outcome, Prediction)]


@pytest.mark.parametrize("family", sorted(PACKED | PADDED))
def test_the_pipeline_of_transformers_gives_the_same_scores(family: str, tmp_path: Path) -> None:
    model = make_family_model(tmp_path, family)
    expected = pipeline_scores(model, TEXTS)
    for scores, known in zip(_scores(model, TEXTS), expected, strict=True):
        assert scores == pytest.approx(known, abs=1e-4)
    assert len({round(scores["positive"], 3) for scores in expected}) > 12


@pytest.mark.parametrize("family", sorted(PACKED | PADDED))
def test_batched_windows_score_like_single_windows(family: str, tmp_path: Path) -> None:
    engine = _engine(make_family_model(tmp_path, family))
    assert engine.pads == (family in PADDED)
    rng = random.Random(4)
    windows = [
        Window([rng.randrange(5, 60) for _ in range(length)], length)
        for length in (7, 1, 64, 3, 7, 3, 33, 3, 1, 64)
    ]
    for window, row in zip(windows, engine.predict(windows), strict=True):
        assert row == pytest.approx(engine.predict([window])[0], abs=1e-5)
        assert row == pytest.approx(engine.predict_precisely(window), abs=1e-4)


@pytest.mark.parametrize("family", ["GPT2", "Llama"])
def test_a_decoder_without_a_padding_token_reads_one_window_at_a_time(
    family: str, tmp_path: Path
) -> None:
    model = make_family_model(tmp_path, family, pad_token_id=None)
    expected = pipeline_scores(model, TEXTS)
    for scores, known in zip(_scores(model, TEXTS), expected, strict=True):
        assert scores == pytest.approx(known, abs=1e-4)


@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_a_text_that_spells_the_padding_token_scores_as_in_the_pipeline(
    family: str, tmp_path: Path
) -> None:
    model = make_family_model(tmp_path, family)
    texts = ["a good [PAD] day [PAD] [PAD] it is", "so sad", "[PAD] film"]
    for scores, known in zip(_scores(model, texts), pipeline_scores(model, texts), strict=True):
        assert scores == pytest.approx(known, abs=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"problem_type": "multi_label_classification"},
        {"problem_type": "regression"},
        {"id2label": {0: "score"}, "label2id": {"score": 0}},
        {"id2label": {0: "score"}, "label2id": {"score": 0}, "problem_type": "regression"},
    ],
)
def test_other_classification_heads_score_as_in_the_pipeline(
    options: dict[str, object], tmp_path: Path
) -> None:
    model = make_family_model(tmp_path, "Bert", **options)
    for scores, known in zip(_scores(model, TEXTS), pipeline_scores(model, TEXTS), strict=True):
        assert scores == pytest.approx(known, abs=1e-4)


def test_labels_are_renamed_by_the_settings(tmp_path: Path) -> None:
    names = {"LABEL_0": "negative", "LABEL_1": "neutral", "LABEL_2": "positive"}
    model = make_family_model(
        tmp_path,
        "Bert",
        id2label=dict(enumerate(names)),
        label2id={n: i for i, n in enumerate(names)},
    )
    scorer = load_scorer(WorkerSettings.load(model=str(model), threads=1, labels=names), Limits())
    assert scorer.label_names == ("negative", "neutral", "positive")
    with pytest.raises(ModelUnavailable, match="SENTQ_WORKER_LABELS"):
        load_scorer(
            WorkerSettings.load(model=str(model), threads=1, labels={"joy": "positive"}), Limits()
        )


@pytest.mark.parametrize("family", sorted(PACKED))
def test_scores_in_bf16_are_close_to_fp32_and_independent_of_the_batch(
    family: str, tmp_path: Path
) -> None:
    model = make_family_model(tmp_path, family, initializer_range=0.1)
    engine = _engine(model, dtype="bfloat16")
    assert (engine.info.dtype, engine.pads) == ("bfloat16", False)
    windows = [Window([2, *range(10, 10 + length), 3], length) for length in (1, 5, 5, 20, 62)]
    for window, row in zip(windows, engine.predict(windows), strict=True):
        assert row == pytest.approx(engine.predict([window])[0], abs=0.03)
        assert row == pytest.approx(engine.predict_precisely(window), abs=0.05)


def _engine(model: Path, dtype: str = "auto") -> LocalEngine:
    return LocalEngine(find_model(str(model)), dtype=dtype, device="cpu", threads=1)
