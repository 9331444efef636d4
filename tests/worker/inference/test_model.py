"""The local engine and the path from text to outcome, with a small real model."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from sentq.contract import ErrorCode, Limits, Outcome, Prediction, TextError
from sentq_worker.engine.base import (
    DeviceLost,
    DeviceUnavailable,
    ModelUnavailable,
    Window,
)
from sentq_worker.inference.device import choose_device, device_works
from sentq_worker.inference.model import LocalEngine
from sentq_worker.inference.model_files import find_model
from sentq_worker.providers.loading import load_scorer
from sentq_worker.scoring.scorer import EngineScorer
from sentq_worker.scoring.windows import TextTokenizer
from sentq_worker.settings import WorkerSettings
from tests.support.models.engines import ScriptedEngine
from tests.support.models.reference import pipeline_scores
from tests.support.models.tiny import WORDS, make_tiny_model

TEXTS = [
    "a good day",
    "awful",
    "the river station was number 12, and the window it was very very bright!",
    "x",
    "so sad and so dull " * 3,
    "bad & ugly; nasty?",
]


@pytest.fixture(scope="module")
def scorer(tiny_model: Path) -> EngineScorer:
    return load_scorer(WorkerSettings.load(model=str(tiny_model)), Limits())


def _one(scorer: EngineScorer, text: object) -> Outcome:
    return scorer.score([[text]])[0][0]


def _scores(outcome: Outcome) -> list[float]:
    assert isinstance(outcome, Prediction)
    return list(outcome.scores.values())


def test_batched_scores_equal_single_scores(scorer: EngineScorer) -> None:
    together = scorer.score([TEXTS * 5])[0]
    for text, outcome in zip(TEXTS * 5, together, strict=True):
        assert _scores(outcome) == pytest.approx(_scores(_one(scorer, text)), abs=1e-5)


def test_the_pipeline_of_transformers_gives_the_same_scores(
    scorer: EngineScorer, tiny_model: Path
) -> None:
    texts = [f"{a} {b} day {i}" for i, (a, b) in enumerate(zip(WORDS, WORDS[::-1], strict=True))]
    expected = pipeline_scores(tiny_model, texts)
    for outcome, scores in zip(scorer.score([texts])[0], expected, strict=True):
        assert isinstance(outcome, Prediction)
        assert outcome.scores == pytest.approx(scores, abs=1e-4)


def test_the_fields_of_a_prediction_are_consistent(scorer: EngineScorer) -> None:
    for text in TEXTS:
        outcome = _one(scorer, text)
        assert isinstance(outcome, Prediction)
        assert outcome.score == max(outcome.scores.values()) == outcome.scores[outcome.label]
        assert sum(outcome.scores.values()) == pytest.approx(1)
        assert outcome.sentiment == pytest.approx(
            outcome.scores["positive"] - outcome.scores["negative"]
        )
        assert outcome.windows == 1
        assert outcome.tokens >= 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", ErrorCode.EMPTY_TEXT),
        (" \n\t ", ErrorCode.EMPTY_TEXT),
        ("\u200b", ErrorCode.EMPTY_TEXT),
        (12, ErrorCode.NOT_A_STRING),
        (None, ErrorCode.NOT_A_STRING),
        (["a", "b"], ErrorCode.NOT_A_STRING),
        ("\ud83d", ErrorCode.LONE_SURROGATE),
        ("x" * 100_001, ErrorCode.TEXT_TOO_LONG),
    ],
)
def test_one_bad_text_does_not_fail_its_neighbours(
    scorer: EngineScorer, text: object, code: ErrorCode
) -> None:
    before, bad, after = scorer.score([["good", text, "bad"]])[0]
    assert isinstance(bad, TextError)
    assert bad.code is code
    assert _scores(before) == pytest.approx(_scores(_one(scorer, "good")), abs=1e-5)
    assert _scores(after) == pytest.approx(_scores(_one(scorer, "bad")), abs=1e-5)


def test_outcomes_are_returned_to_the_jobs_of_their_texts(scorer: EngineScorer) -> None:
    jobs: list[list[object]] = [["good", "bad"], [], ["", "awful"], ["good"]]
    scored = scorer.score(jobs)
    assert [len(job) for job in scored] == [2, 0, 2, 1]
    assert _scores(scored[0][0]) == pytest.approx(_scores(scored[3][0]), abs=1e-6)


def test_a_text_in_several_jobs_is_scored_once_with_one_outcome() -> None:
    engine = ScriptedEngine(row=lambda w: [w.token_ids[0] / 1000, 1 - w.token_ids[0] / 1000])
    tokenizer = TextTokenizer(
        Tokenizer(WordLevel({"good": 7, "bad": 8}, unk_token="good")),
        window_tokens=16,
        overlap_tokens=0,
        special_tokens=0,
    )
    scorer = EngineScorer(engine, tokenizer, limits=Limits(), batch_tokens=64)
    jobs: list[list[object]] = [["good", "bad", "good"], [1, True, "one", ["good"]], ["good"]]
    scored = scorer.score(jobs)
    assert scored[0][0] == scored[0][2] == scored[2][0] != scored[0][1]
    assert [isinstance(outcome, TextError) for outcome in scored[1]] == [True, True, False, True]
    assert [len(batch) for batch in engine.batches] == [3]


def test_a_text_that_fails_in_reduced_precision_is_scored_in_fp32(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    scorer = load_scorer(WorkerSettings.load(model=str(model), dtype="bfloat16"), Limits())
    exact = load_scorer(WorkerSettings.load(model=str(model)), Limits())
    assert isinstance(scorer.engine, LocalEngine)
    whole = scorer.engine.predict
    scorer.engine.predict = lambda batch: [  # type: ignore[method-assign]
        [float("nan")] * 3 if len(window.token_ids) == 5 else row
        for window, row in zip(batch, whole(batch), strict=True)
    ]
    repaired, unaffected = scorer.score([["a good day", "so sad"]])[0]
    assert _scores(repaired) == pytest.approx(_scores(_one(exact, "a good day")), abs=1e-6)
    assert _scores(unaffected) == pytest.approx(_scores(_one(exact, "so sad")), abs=0.05)


def test_device_and_precision_of_the_model_are_logged(
    tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        load_scorer(WorkerSettings.load(model=str(tiny_model), device="cpu"), Limits())
    assert re.search(r"bert runs packed, multiplied by (torch|onednn)", caplog.text)


def test_a_long_text_is_read_in_windows_to_its_end(scorer: EngineScorer) -> None:
    short = _one(scorer, "the film " * 31)
    long = _one(scorer, "the film " * 200)
    assert isinstance(short, Prediction)
    assert isinstance(long, Prediction)
    assert (short.windows, short.tokens) == (1, 62)
    assert long.windows > 5
    assert long.tokens == 400
    ending = _one(scorer, "the film " * 200 + "ugly nasty " * 20)
    assert _scores(ending) != pytest.approx(_scores(long), abs=1e-3)


def test_a_long_text_is_the_mean_of_its_windows_weighted_by_their_tokens(
    tiny_model: Path,
) -> None:
    settings = WorkerSettings.load(model=str(tiny_model), window_tokens=22, window_overlap_tokens=0)
    scorer = load_scorer(settings, Limits())
    outcome = _one(scorer, "good " * 20 + "bad " * 10)
    first, second = _one(scorer, "good " * 20), _one(scorer, "bad " * 10)
    expected = [
        (20 * a + 10 * b) / 30 for a, b in zip(_scores(first), _scores(second), strict=True)
    ]
    assert _scores(outcome) == pytest.approx(expected, abs=1e-5)


def test_windows_of_a_long_text_are_combined_by_the_configured_rule(tiny_model: Path) -> None:
    options = {"model": str(tiny_model), "window_tokens": 22, "window_overlap_tokens": 0}
    text, parts = "good " * 20 + "bad " * 10, ["good " * 20, "bad " * 10]
    for rule in ("first", "max", "extremes"):
        settings = WorkerSettings.load(None, **options, window_join=rule)
        scorer = load_scorer(settings, Limits())
        alone = [_one(scorer, part) for part in parts]
        scores = [_scores(each) for each in alone]
        expected = scores[0] if rule == "first" else max(scores, key=max)
        if rule == "extremes":
            strengths = [
                each.tokens * (each.sentiment or 0) ** 2
                for each in alone
                if isinstance(each, Prediction)
            ]
            weights = [strength / sum(strengths) for strength in strengths]
            columns = zip(*scores, strict=True)
            expected = [weights[0] * one + weights[1] * other for one, other in columns]
        assert _scores(_one(scorer, text)) == pytest.approx(expected, abs=1e-5)


def test_the_longest_allowed_text_is_scored(scorer: EngineScorer) -> None:
    outcome = _one(scorer, "bright " * 14_285)
    assert isinstance(outcome, Prediction)
    assert outcome.tokens == 14_285
    assert all(map(math.isfinite, _scores(outcome)))


def test_two_class_models_and_other_labels_keep_their_meaning(tmp_path: Path) -> None:
    two = make_tiny_model(tmp_path / "two", labels=("NEGATIVE", "POSITIVE"))
    outcome = _one(load_scorer(WorkerSettings.load(model=str(two)), Limits()), "fine")
    assert isinstance(outcome, Prediction)
    assert set(outcome.scores) == {"negative", "positive"}
    joy = make_tiny_model(tmp_path / "joy", labels=("joy", "anger", "fear", "awe"))
    outcome = _one(load_scorer(WorkerSettings.load(model=str(joy)), Limits()), "fine")
    assert isinstance(outcome, Prediction)
    assert outcome.label in {"joy", "anger", "fear", "awe"}
    assert outcome.sentiment is None


def test_device_auto_uses_the_cpu_without_an_accelerator() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    if torch.backends.mps.is_available():
        expected = "mps"
    assert choose_device("auto").type == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_rejected_with_advice() -> None:
    with pytest.raises(DeviceUnavailable, match="SENTQ_WORKER_DEVICE=auto"):
        choose_device("cuda:1")


class _Failing:
    """Raises the error that CUDA raises for any cause."""

    def logits(self, _: Sequence[Window]) -> torch.Tensor:
        raise RuntimeError("CUDA error: device-side assert triggered")


def test_an_error_means_a_lost_device_only_if_the_device_does_not_respond(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(find_model(str(tiny_model)), device="cpu", threads=1)
    monkeypatch.setattr(engine, "_forward", _Failing())
    with pytest.raises(RuntimeError, match="assert"):
        engine.predict([Window([2, 3], 0)])
    # No value can be read from this device, as from a GPU that lost its context.
    monkeypatch.setattr(engine, "_device", torch.device("meta"))
    with pytest.raises(DeviceLost, match="meta failed"):
        engine.predict([Window([2, 3], 0)])
    with pytest.raises(DeviceLost, match="meta failed"):
        engine.predict_precisely(Window([2, 3], 0))


def test_a_working_device_responds() -> None:
    assert device_works(torch.device("cpu"))
    assert not device_works(torch.device("meta"))


def test_a_folder_that_cannot_be_loaded_is_rejected(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "broken")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        LocalEngine(find_model(str(folder)), threads=None)
