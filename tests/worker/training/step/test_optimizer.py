"""Learning rates, gradient clipping and the loss."""

from __future__ import annotations

import pytest
import torch

from sentq_worker.training.step.objective import Objective, balanced_weights
from sentq_worker.training.step.optimizer import Optimizer, OptimizerOptions
from sentq_worker.training.step.schedule import Decay, Schedule


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
