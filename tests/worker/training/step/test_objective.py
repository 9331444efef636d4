"""The loss: labels and probabilities, weights of labels, label smoothing."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from sentq_worker.training.step.objective import Objective

_LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0], [-1.0, 0.2, 0.1], [2.0, 0.1, -1.0]])
_LABELS = torch.tensor([0, 2, 2, 1])


@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 3.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_probability_of_one_is_a_label(
    weights: tuple[float, ...] | None, smoothing: float
) -> None:
    objective = Objective(smoothing, weights)
    certain = functional.one_hot(_LABELS, 3).float()
    torch.testing.assert_close(objective.loss(_LOGITS, certain), objective.loss(_LOGITS, _LABELS))


def test_probabilities_have_the_mean_loss_of_their_labels() -> None:
    half = torch.tensor([[0.5, 0.25, 0.25]])
    each = [Objective().loss(_LOGITS[:1], torch.tensor([label])) for label in range(3)]
    expected = each[0] / 2 + each[1] / 4 + each[2] / 4
    torch.testing.assert_close(Objective().loss(_LOGITS[:1], half), expected)


def test_the_loss_is_least_where_the_model_gives_the_probabilities() -> None:
    wanted = torch.tensor([[0.2, 0.3, 0.5]])
    logits = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        Objective().loss(logits, wanted).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.testing.assert_close(logits.softmax(-1).detach(), wanted, atol=1e-3, rtol=0)
