"""The last steps of the bundled model's recipe: unseen rows, the average, and calibration."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sentq.contract import Limits, Prediction
from sentq_worker.evaluate.measures import measure
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings
from sentq_worker.training.data.rows import Filter, Rows, read_rows
from tests.support.labelled_rows import separable_rows, write_rows
from tests.support.models.tiny import LABELS, make_tiny_model

_RECIPE = Path(__file__).parents[2] / "model" / "recipe"
sys.path.append(str(_RECIPE))

from average import Part, mean_of, scored_by, write  # noqa: E402
from scaling import Scaling  # noqa: E402
from unseen import texts_drawn, unseen  # noqa: E402

pytestmark = pytest.mark.slow

_RUN: dict[str, Any] = {
    "options": {"max-tokens": "64", "dtype": "float32", "data": "rows.jsonl"},
    "epochs": [{}, {}],
    "sources": [{"name": "rows.jsonl", "rows": 9, "rows_per_epoch": 9, "labels": {"neutral": 9}}],
    "validation_rows_seen_in_training": {"valid.jsonl": 3},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models with the same architecture and training records."""
    folder = tmp_path_factory.mktemp("trained")
    first = make_tiny_model(folder / "first")
    second = make_tiny_model(folder / "second", seed=1)
    for one in (first, second):
        (one / "training.json").write_text(json.dumps(_RUN))
    return first, second


@pytest.fixture(scope="module")
def averaged(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("averaged")
    rows = [{**row, "split": "valid"} for row in separable_rows(200, seed=3)]
    valid = write_rows(folder / "valid.jsonl", [*rows, {"text": 0, "split": "train"}])
    options = ["--valid", str(valid), "--valid-where=split=valid", "--lift=neutral", "--threads=1"]
    parts = [f"{one}@0.5" for one in trained]
    command: list[str | Path] = [sys.executable, _RECIPE / "average.py", *parts]
    subprocess.run([*command, "--out", folder / "model", *options], check=True)
    return folder


def test_the_average_is_the_mean_of_all_layers_except_the_last(
    trained: tuple[Path, Path], averaged: Path
) -> None:
    stored = load_file(averaged / "model" / "model.safetensors")
    mean = mean_of([Part(one, 0.5) for one in trained])
    assert {one.dtype for one in stored.values()} == {torch.float16}
    for name, one in stored.items():
        if not name.startswith("classifier."):
            torch.testing.assert_close(one.float(), mean[name], atol=2e-3, rtol=1e-3)


def test_the_average_is_better_calibrated_than_its_parts(
    trained: tuple[Path, Path], averaged: Path, tmp_path: Path
) -> None:
    record = json.loads((averaged / "model" / "training.json").read_text())
    assert record["temperature"] != 1
    assert record["bias"]["neutral"] >= 0
    assert record["bias"]["negative"] == record["bias"]["positive"] == 0
    (figures,) = record["figures"]
    assert figures["name"] == "valid.jsonl"
    assert figures["rows"] == 200
    like = trained[1]
    raw = mean_of([Part(one, 0.5) for one in trained])
    write(tmp_path / "raw", raw, like=like, dtype=torch.float32, texts={})
    (before,) = scored_by(
        tmp_path / "raw",
        [read_rows(averaged / "valid.jsonl", [Filter.parse("split=valid")])],
        threads=1,
    )
    assert figures["ece"] < measure(before).calibration.ece
    settings = WorkerSettings.load(model=str(averaged / "model"), dtype="float32", threads=1)
    rows = separable_rows(200, seed=3)
    (outcomes,) = load_scorer(settings, Limits()).score([[row["text"] for row in rows]])
    right = [
        isinstance(outcome, Prediction) and outcome.label == row["label"]
        for outcome, row in zip(outcomes, rows, strict=True)
    ]
    assert sum(right) / len(right) == pytest.approx(figures["accuracy"], abs=1e-4)


def test_the_model_card_has_the_figures_and_all_trainings(averaged: Path) -> None:
    card = (averaged / "model" / "README.md").read_text()
    record = json.loads((averaged / "model" / "training.json").read_text())
    assert f"| valid.jsonl | 200 | {record['figures'][0]['accuracy']:.4f} |" in card
    assert "Training 1:\n\n| file |" in card
    assert "Training 2:\n\n| file |" in card
    assert "| share of the mean | 0.5 | 0.5 |\n| data" not in card
    assert "| share of the mean | 0.5 | 0.5 |\n| max-tokens | 64 | 64 |\n" in card
    assert "\n| epochs trained | 2 | 2 |\n\n## Limits" in card
    assert str(averaged) not in card + json.dumps(record)


def test_models_of_different_architectures_cannot_be_averaged(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    wider = make_tiny_model(tmp_path / "wider", hidden=64)
    with pytest.raises(SystemExit, match="do not have the same base"):
        mean_of([Part(trained[0], 0.5), Part(wider, 0.5)])


def test_weights_shift_the_average(tmp_path: Path) -> None:
    for number in range(3):
        folder = tmp_path / f"{number}@home"
        folder.mkdir()
        save_file({"w": torch.full((2,), float(number))}, folder / "model.safetensors")
    given = [f"{tmp_path}/{number}@home@{share}" for number, share in enumerate((0.5, 0.3, 0.2))]
    mean = mean_of([Part.parse(one) for one in given])
    torch.testing.assert_close(mean["w"], torch.full((2,), 0.7))
    with pytest.raises(SystemExit, match="add up to 1"):
        mean_of([Part.parse(one) for one in given[:2]])
    with pytest.raises(argparse.ArgumentTypeError, match="no share"):
        Part.parse("model")


def _softmax(logits: torch.Tensor) -> list[list[float]]:
    rows: list[list[float]] = logits.softmax(dim=-1).tolist()
    return rows


def test_scaling_reverts_a_transformation_of_the_logits() -> None:
    chance = torch.Generator().manual_seed(1)
    true = torch.randn(4_000, 3, generator=chance, dtype=torch.float64) * 2
    targets = torch.multinomial(true.softmax(-1), 1, generator=chance)[:, 0]
    moved = 2 * (true - torch.tensor([0.0, 0.2, 0.0]))
    plain = Scaling.fitted([(_softmax(moved), targets.tolist())])
    raised = Scaling.fitted([(_softmax(moved), targets.tolist())], raised=1)
    assert plain.bias == (0, 0, 0)
    assert raised.bias[1] > 0
    assert raised.temperature == pytest.approx(2, rel=0.15)
    assert raised.error(moved, targets) <= plain.error(moved, targets) < 0.03
    assert Scaling(1.0, (0.0, 0.0, 0.0)).error(moved, targets) > 0.1


def test_a_known_bias_is_kept_and_the_temperature_is_fitted_to_it() -> None:
    chance = torch.Generator().manual_seed(1)
    true = torch.randn(4_000, 3, generator=chance, dtype=torch.float64) * 2
    targets = torch.multinomial(true.softmax(-1), 1, generator=chance)[:, 0]
    bias = (-0.2, 0.0, 0.3)
    moved = 1.5 * (true - torch.tensor(bias))
    scaling = Scaling.fitted([(_softmax(moved), targets.tolist())], bias=bias)
    assert scaling.bias == bias
    assert scaling.temperature == pytest.approx(1.5, rel=0.1)


def test_a_badly_calibrated_file_counts_more_than_a_well_calibrated_one() -> None:
    sure, unsure = [[0.9, 0.1]] * 100, [[0.8, 0.2]] * 100
    right_on_most = [0] * 90 + [1] * 10
    files = [(sure, right_on_most), (sure, right_on_most), (unsure, right_on_most)]
    scaling = Scaling.fitted(files)
    assert 0.7 < scaling.temperature < 0.85


def test_folding_a_scaling_into_the_last_layer_scales_the_logits() -> None:
    layer = torch.nn.Linear(4, 3)
    features = torch.randn(5, 4)
    scaling = Scaling(1.5, (-0.2, 0.3, -0.1))
    expected = layer(features) / 1.5 + torch.tensor(scaling.bias)
    weights = {f"head.{name}": one.detach() for name, one in layer.named_parameters()}
    folded = scaling.fold_into({**weights, "other": torch.ones(1)}, layer="head")
    found = features @ folded["head.weight"].T + folded["head.bias"]
    torch.testing.assert_close(found, expected)
    assert folded["other"] == 1


def test_the_rows_drawn_by_a_training_are_read_from_its_record(tmp_path: Path) -> None:
    from sentq_worker.training.data.batches import epoch_batches

    rows = [{"text": f"review  {number}", "label": LABELS[0]} for number in range(60)]
    write_rows(tmp_path / "one.jsonl", rows[:40])
    write_rows(tmp_path / "two.jsonl", rows[40:])
    data = "one.jsonl@0.5, two.jsonl"
    options = {"data": data, "where": "split=train", "epochs": "2", "seed": "7"}
    sizes, weights = (40, 20), (0.5, 1.0)
    expected = {
        f"review {row}"
        for epoch in range(2)
        for batch in epoch_batches([1] * 60, sizes, weights, batch_size=8, seed=7, epoch=epoch)
        for row in batch
    }
    seen = texts_drawn(tmp_path, options)
    assert seen == expected
    assert 20 < len(seen) < 60
    texts = [str(row["text"]) for row in rows]
    left = unseen(Rows("held", texts, [LABELS[0]] * 60, ""), seen)
    kept = {json.loads(line)["text"] for line in left.splitlines()}
    assert len(kept) == 60 - len(seen)
    assert not {" ".join(text.split()) for text in kept} & seen
