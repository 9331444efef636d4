"""The learner: steps, precision, padding, and the running mean of the weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional

from sentq_worker.training.errors import DivergedError
from sentq_worker.training.model.base import load_model
from sentq_worker.training.step.averaging import RunningMean
from sentq_worker.training.step.learner import Learner
from sentq_worker.training.step.padding import Padding
from tests.support.models.tiny import LABELS

if TYPE_CHECKING:
    from pathlib import Path


_ROWS, _TARGETS = [[2, 60, 3], [2, 61, 62, 3]], [0, 2]
_PADDING = Padding(0)


def make_learner(
    base: Path,
    *,
    dtype: torch.dtype = torch.float32,
    average_steps: int = 0,
    freeze_embeddings: bool = False,
) -> Learner:
    model = load_model(str(base), labels=LABELS, dropout=0.0, attention_dropout=0.0)
    model.get_input_embeddings().requires_grad_(requires_grad=not freeze_embeddings)
    cpu = torch.device("cpu")
    return Learner(model, padding=_PADDING, device=cpu, dtype=dtype, average_steps=average_steps)


def test_a_padded_row_scores_like_a_single_row(base: Path) -> None:
    learner = make_learner(base)
    rows = [[2, 60, 3], [2, *range(40, 60), 3], [2, 70, 71, 72, 3]]
    together = torch.tensor(learner.predict(rows))
    alone = torch.tensor([learner.predict([row])[0] for row in rows])
    assert torch.allclose(together, alone, atol=1e-5)


def test_padding_may_be_on_either_side() -> None:
    rows, cpu = [[5, 6, 7], [8]], torch.device("cpu")
    assert Padding(0).tensors(rows, cpu)[0].tolist() == [[5, 6, 7], [8, 0, 0]]
    token_ids, mask = Padding(0, on_the_left=True).tensors(rows, cpu)
    assert token_ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_bfloat16_learns_on_float32_master_weights(base: Path) -> None:
    learner = make_learner(base, dtype=torch.bfloat16)
    rows, targets = [[2, 60, 3], [2, 61, 62, 3]], [0, 2]
    losses = [learner.learn(rows, targets, rate=1e-3) for _ in range(20)]
    assert losses[-1] < losses[0] / 2
    assert {weight.dtype for weight in learner.weights().values()} == {torch.float32}
    assert {weight.dtype for weight in learner.model.parameters()} == {torch.bfloat16}


def test_a_loss_of_nan_is_an_error(base: Path) -> None:
    learner = make_learner(base)
    with torch.no_grad():
        next(learner.model.parameters()).fill_(float("nan"))
    with pytest.raises(DivergedError, match="lower --learning-rate"):
        learner.learn([[2, 60, 3]], [0], rate=1e-3)


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
    first = make_learner(base, average_steps=10)
    second = make_learner(base, average_steps=10)
    for _ in range(6):
        first.learn(_ROWS, _TARGETS, rate=1e-2)
    second.restore(copy.deepcopy(first.state()))  # a checkpoint shares no memory either
    for learner in (first, second):
        for _ in range(6):
            learner.learn(_ROWS, _TARGETS, rate=1e-2)
    pairs = zip(first.weights().values(), second.weights().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_loss_is_that_of_the_objective(base: Path) -> None:
    learner = make_learner(base)
    found = torch.tensor(learner.predict(_ROWS)).log()
    expected = functional.nll_loss(found, torch.tensor(_TARGETS)).item()
    assert learner.learn(_ROWS, _TARGETS, rate=0.0) == pytest.approx(expected, rel=1e-4)


def test_frozen_embeddings_keep_each_bit_while_the_others_are_trained(base: Path) -> None:
    before = load_model(str(base), labels=LABELS).state_dict()
    # Weights of the base that bfloat16 would round.
    learner = make_learner(base, dtype=torch.bfloat16, average_steps=10, freeze_embeddings=True)
    for _ in range(10):
        learner.learn(_ROWS, _TARGETS, rate=0.01)
    after = learner.weights()
    assert set(after) == set(before)
    same = {name for name, one in after.items() if torch.equal(one, before[name])}
    assert same == {"bert.embeddings.word_embeddings.weight"}
