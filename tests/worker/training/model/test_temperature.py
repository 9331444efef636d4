"""Calibration by a temperature, and folding it into the last layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from sentq_worker.training.model.base import load_model
from sentq_worker.training.model.temperature import best_temperature, fold_temperature, last_layer
from tests.support.models.tiny import LABELS

if TYPE_CHECKING:
    from pathlib import Path


def _sharpened(temperature: float, rows: int = 4000) -> tuple[list[list[float]], list[int]]:
    """Draw correct labels from probabilities, and sharpen these by 1 / temperature."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(rows, 3, generator=generator) * 1.5
    targets = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)
    return (logits * temperature).softmax(-1).tolist(), targets.tolist()


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
def test_the_temperature_is_found(temperature: float) -> None:
    assert best_temperature([_sharpened(temperature)]) == pytest.approx(temperature, rel=0.1)


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
