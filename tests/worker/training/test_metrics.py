"""The metrics of a model on validation rows, and the score that chooses an epoch."""

from __future__ import annotations

import pytest

from sentq_worker.training.metrics import figures_of, selection_score
from tests.support.models.tiny import LABELS


def test_accuracy_polar_accuracy_and_macro_f1_are_correct() -> None:
    probabilities = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.5, 0.4], [0.2, 0.5, 0.3]]
    figures = figures_of(probabilities, [0, 0, 2, 1], labels=LABELS)
    assert figures.rows == 4
    assert figures.accuracy == 0.5
    assert figures.polar_accuracy == 1.0
    # Negative: 1 hit, 1 prediction, 2 rows. Neutral: 1 hit, 3 predictions, 1 row. Positive: no hit.
    assert figures.macro_f1 == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert figures_of([[0.4, 0.6]], [1], labels=("ham", "spam")).polar_accuracy is None


def test_neutral_predictions_do_not_count_where_no_row_is_neutral() -> None:
    predictions = [
        [0.4, 0.6, 0.0],
        [0.1, 0.5, 0.4],
    ]  # neutral first, the correct pole second
    polar = figures_of(predictions, [0, 2], labels=LABELS)
    mixed = figures_of(predictions, [0, 1], labels=LABELS)
    assert selection_score([(polar, [0, 2])], labels=LABELS) == 1.0
    assert selection_score([(polar, [0, 2]), (mixed, [0, 1])], labels=LABELS) == 0.75
    spam = figures_of([[0.4, 0.6]], [1], labels=("ham", "spam"))
    assert selection_score([(spam, [1])], labels=("ham", "spam")) == 1.0
