"""The parts of learning, one by one: rates, losses, means of weights, windows, calibration."""

from __future__ import annotations

import copy
import math
import random
from array import array
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
import torch
from torch.nn import functional

from sentq_worker.training.data.corpus import EncodedRows
from sentq_worker.training.data.training_set import TrainingSet
from sentq_worker.training.data.windows import epoch_window, special_token_counts
from sentq_worker.training.loop.state import TrainingState
from sentq_worker.training.model.base import load_model
from sentq_worker.training.model.temperature import best_temperature, fold_temperature, last_layer
from sentq_worker.training.report.chart import chart
from sentq_worker.training.step.averaging import RunningMean
from sentq_worker.training.step.learner import Learner
from sentq_worker.training.step.objective import Objective, balanced_weights
from sentq_worker.training.step.optimizer import Optimizer, OptimizerOptions
from sentq_worker.training.step.padding import Padding
from sentq_worker.training.step.schedule import Schedule
from tests.support.models.tiny import LABELS, make_tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from sentq_worker.training.step.padding import Padding
from sentq_worker.training.step.schedule import Decay

_ROWS, _TARGETS = [[2, 60, 3], [2, 61, 62, 3]], [0, 2]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


def make_learner(base: Path, *, average_steps: int, dtype: torch.dtype) -> Learner:
    model = load_model(str(base), labels=LABELS, dropout=0.0, attention_dropout=0.0)
    cpu = torch.device("cpu")
    return Learner(model, padding=Padding(0), device=cpu, dtype=dtype, average_steps=average_steps)


# Rates


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_the_learning_rate_rises_and_falls(decay: Decay) -> None:
    schedule = Schedule(learning_rate=1.0, warmup=0.1, decay=decay)
    rates = [schedule.rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.02


def test_the_head_has_its_own_learning_rate_and_biases_do_not_decay() -> None:
    names = ("bert.weight", "bert.bias", "classifier.weight")
    named = {name: torch.ones(2, 2) if "weight" in name else torch.ones(2) for name in names}
    before = {name: one.clone() for name, one in named.items()}
    optimizer = Optimizer(named, OptimizerOptions(head_rate=5.0), body="bert", fused=False)
    for one in named.values():
        one.grad = torch.ones_like(one)
    optimizer.step(0.01)
    moved = {name: (before[name] - one).mean().item() for name, one in named.items()}
    assert moved["bert.bias"] == pytest.approx(0.01, rel=1e-4)
    assert moved["bert.weight"] == pytest.approx(0.01 + 0.01 * 0.01, rel=1e-4)
    assert moved["classifier.weight"] == pytest.approx(0.05 + 0.05 * 0.01, rel=1e-4)


def test_a_large_gradient_is_clipped() -> None:
    weight = torch.zeros(4)
    weight.grad = torch.full((4,), 100.0)
    clipping = OptimizerOptions(max_gradient_norm=2.0)
    Optimizer({"w": weight}, clipping, body="", fused=False).step(0.1)
    assert weight.grad.norm().item() == pytest.approx(2.0, rel=1e-3)
    weight.grad = torch.full((4,), 100.0)
    free = OptimizerOptions(max_gradient_norm=0.0)
    Optimizer({"w": weight}, free, body="", fused=False).step(0.1)
    assert weight.grad.norm().item() == 200.0


# Losses


def test_label_smoothing_and_class_weights_follow_the_formula() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0]])
    targets = torch.tensor([0, 2])
    logs = logits.log_softmax(-1)
    plain = -(logs[0, 0] + logs[1, 2]) / 2
    assert Objective().loss(logits, targets) == pytest.approx(plain.item())
    smooth = -(0.9 * logs[[0, 1], targets] + 0.1 * logs.mean(-1)).mean()
    assert Objective(0.1).loss(logits, targets) == pytest.approx(smooth.item())
    weighted = -(3 * logs[0, 0] + 1 * logs[1, 2]) / 4
    loss = Objective(class_weights=(3.0, 1.0, 1.0)).loss(logits, targets)
    assert loss == pytest.approx(weighted.item())


def test_balanced_weights_give_each_label_the_same_total_weight() -> None:
    rows = [100.0, 50.0, 10.0]
    weights = balanced_weights(rows)
    shares = [weight * count for weight, count in zip(weights, rows, strict=True)]
    assert shares == pytest.approx([shares[0]] * 3)
    assert sum(shares) / sum(rows) == pytest.approx(1.0)


def test_the_loss_curve_keeps_a_bounded_number_of_points() -> None:
    state = TrainingState()
    for step in range(1, 5001):
        state.add_loss(1.0 if step < 2500 else 0.5, step=step, steps=5000)
    assert 150 <= len(state.losses) <= 250
    assert state.losses[-1] == (5000, 0.5)


# The running mean of the weights


def test_the_running_mean_lies_between_past_weights() -> None:
    weight = torch.zeros(3)
    mean = RunningMean({"w": weight}, steps=50)
    for step in range(200):
        weight.fill_(1.0 if step % 10 < 5 else 0.0)
        mean.step()
    assert mean.weights["w"].mean().item() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_evaluating_the_mean_does_not_change_the_training(base: Path, dtype: torch.dtype) -> None:
    def course_of(*, rests: bool) -> list[float]:
        learner = make_learner(base, average_steps=10, dtype=dtype)
        losses = []
        for step in range(12):
            losses.append(learner.learn(_ROWS, _TARGETS, rate=1e-2))
            if rests and step == 7:
                awake = learner.predict(_ROWS)
                with learner.evaluation_mode():
                    assert learner.predict(_ROWS) != awake
                assert learner.predict(_ROWS) == awake
        return losses

    assert course_of(rests=True) == course_of(rests=False)


def test_a_restored_learner_continues_with_the_same_mean(base: Path) -> None:
    first = make_learner(base, average_steps=10, dtype=torch.float32)
    second = make_learner(base, average_steps=10, dtype=torch.float32)
    for _ in range(6):
        first.learn(_ROWS, _TARGETS, rate=1e-2)
    second.restore(copy.deepcopy(first.state()))  # a checkpoint shares no memory either
    for learner in (first, second):
        for _ in range(6):
            learner.learn(_ROWS, _TARGETS, rate=1e-2)
    pairs = zip(first.weights().values(), second.weights().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


# Windows of long texts


def test_a_window_keeps_the_special_tokens_and_depends_on_its_seed() -> None:
    text = array("i", [101, *range(1000, 1100), 102])
    windows = [
        epoch_window(text, max_tokens=12, special_tokens=(1, 1), seed=f"1:{epoch}:7")
        for epoch in range(300)
    ]
    starts = [window[1] for window in windows]
    for window, start in zip(windows, starts, strict=True):
        assert list(window) == [101, *range(start, start + 10), 102]
    assert 0.35 < starts.count(1000) / 300 < 0.65
    assert 0.15 < starts.count(1090) / 300 < 0.4
    assert len(set(starts)) > 20
    assert epoch_window(text, max_tokens=12, special_tokens=(1, 1), seed="1:5:7") == windows[5]
    short = array("i", [101, 5, 102])
    assert epoch_window(short, max_tokens=12, special_tokens=(1, 1), seed="1:0:0") is short


def test_special_tokens_may_be_on_either_side_or_absent() -> None:
    assert special_token_counts([7], [101, 7, 102]) == (1, 1)
    assert special_token_counts([7], [1, 7]) == (1, 0)
    assert special_token_counts([7, 8], [7, 8]) == (0, 0)
    assert special_token_counts([7], [7, 4, 3]) == (0, 2)


def test_training_examples_are_never_longer_than_a_window() -> None:
    rng = random.Random(1)
    rows = [array("i", [101, *range(rng.randint(1, 90)), 102]) for _ in range(200)]
    source = EncodedRows("rows", rows, [number % 3 for number in range(200)], special_tokens=(1, 1))
    training_set = TrainingSet([source], [1.0], batch_size=16, max_tokens=20, seed=1)
    batches = training_set.epoch(0)
    assert len(batches) == training_set.batches_per_epoch
    tokens, targets = zip(*(training_set.rows(batch, 0) for batch in batches), strict=True)
    assert sorted(row for batch in batches for row in batch) == list(range(200))
    assert max(len(row) for batch in tokens for row in batch) == 20
    assert sum(map(len, targets)) == 200


# Calibration


def _answers(temperature: float, rows: int = 4000) -> tuple[list[list[float]], list[int]]:
    """Draw right labels from probabilities, then sharpen these by 1 / temperature."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(rows, 3, generator=generator) * 1.5
    targets = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)
    return (logits * temperature).softmax(-1).tolist(), targets.tolist()


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
def test_the_temperature_is_found(temperature: float) -> None:
    assert best_temperature([_answers(temperature)]) == pytest.approx(temperature, rel=0.1)


def test_few_correct_rows_do_not_make_the_temperature_extreme() -> None:
    few: tuple[list[list[float]], list[int]] = ([[0.9, 0.05, 0.05]] * 10, [0] * 10)
    assert 0.5 < best_temperature([few]) < 1.0


def test_dividing_the_last_layer_divides_the_logits(base: Path) -> None:
    model = load_model(str(base), labels=LABELS)
    layer = last_layer(model, len(LABELS))
    assert layer == "classifier"
    token_ids = torch.tensor([[2, 60, 61, 3]])
    model.eval()
    before = model(input_ids=token_ids).logits
    model.load_state_dict(fold_temperature(model.state_dict(), layer=layer, temperature=2.0))
    assert torch.allclose(model(input_ids=token_ids).logits, before / 2, atol=1e-6)
    assert last_layer(torch.nn.Sequential(torch.nn.LayerNorm(3)), 3) is None


# The picture


def test_the_chart_is_an_svg_with_a_curve_per_file() -> None:
    picture = chart(
        [(step, math.exp(-step / 50)) for step in range(1, 101)],
        {"all": [(50, 0.7), (100, 0.8)], "rows <1> & co.jsonl": [(50, 0.6), (100, 0.9)]},
    )
    root = ET.fromstring(picture)  # noqa: S314 - our own
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 3
    assert "rows &lt;1&gt; &amp; co.jsonl" in picture
    places = [
        float(x)
        for line in lines
        for pair in line.attrib["points"].split()
        for x in pair.split(",")
    ]
    assert all(math.isfinite(place) for place in places)


def test_a_chart_of_no_point_or_one_point_can_be_drawn() -> None:
    ET.fromstring(chart([], {}))  # noqa: S314 - our own
    ET.fromstring(chart([(1, 0.0)], {"all": [(1, 0.5)]}))  # noqa: S314 - our own


def test_the_loss_is_that_of_the_objective(base: Path) -> None:
    learner = make_learner(base, average_steps=0, dtype=torch.float32)
    found = torch.tensor(learner.predict(_ROWS)).log()
    expected = functional.nll_loss(found, torch.tensor(_TARGETS)).item()
    assert learner.learn(_ROWS, _TARGETS, rate=0.0) == pytest.approx(expected, rel=1e-4)
