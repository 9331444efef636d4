"""The metrics of an evaluation, compared with manual calculations or other libraries."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from sklearn.calibration import calibration_curve

from sentq.contract import ErrorCode, Prediction, TextError
from sentq_worker.evaluate.calibration import calibration_of
from sentq_worker.evaluate.comparison import compare
from sentq_worker.evaluate.measures import measure, worst_mistakes
from sentq_worker.evaluate.results import Evaluation, FileResult, ModelFacts
from sentq_worker.evaluate.scored import ScoredRows, score_rows
from sentq_worker.training.data.rows import Rows
from sentq_worker.training.errors import TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentq.contract import Outcome

LABELS = ("negative", "neutral", "positive")


@dataclass
class ScriptedScorer:
    """A scorer with scripted probabilities per text, and an error for other texts."""

    probabilities_by_text: dict[str, list[float]]
    label_names: tuple[str, ...] = LABELS

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        return [[self._outcome(str(text)) for text in job] for job in jobs]

    def _outcome(self, text: str) -> Outcome:
        if text not in self.probabilities_by_text:
            return TextError(code=ErrorCode.EMPTY_TEXT, message="unknown")
        scores = dict(zip(self.label_names, self.probabilities_by_text[text], strict=True))
        best = max(scores, key=lambda label: scores[label])
        return Prediction(
            label=best, score=scores[best], scores=scores, sentiment=0.0, tokens=1, windows=1
        )


def scored(probabilities: Sequence[Sequence[float]], targets: Sequence[int]) -> ScoredRows:
    rows = [list(row) for row in probabilities]
    return ScoredRows(LABELS, list(range(len(rows))), rows, list(targets), 0, 1.0)


# Scoring


def test_rows_without_a_score_are_counted_and_excluded_from_figures() -> None:
    probabilities_by_text = {"a": [0.8, 0.1, 0.1], "c": [0.1, 0.2, 0.7]}
    rows = Rows("rows", ["a", "b", "c"], ["negative", "neutral", "neutral"], "", [3, 5, 9])
    advanced: list[int] = []
    result = score_rows(rows, ScriptedScorer(probabilities_by_text), advance=advanced.append)
    assert result.errors == 1
    assert result.row_numbers == [0, 2]
    assert sum(advanced) == 3
    measures = measure(result)
    assert measures.figures.rows == 2
    assert measures.right == {0: True, 2: False}
    (mistake,) = worst_mistakes(result, rows, most=5, with_text=False)
    assert (mistake.place, mistake.label, mistake.guess) == (9, "neutral", "positive")
    assert mistake.text is None
    assert "text" not in mistake.as_json()


def test_a_file_without_scorable_rows_is_an_error() -> None:
    rows = Rows("rows.csv", ["a"], ["neutral"], "")
    with pytest.raises(TrainingDataError, match=r"no text of rows\.csv could be scored"):
        score_rows(rows, ScriptedScorer({}), advance=lambda _: None)


# Figures of one model


def test_each_label_has_recall_and_precision_and_the_confusion_matrix_adds_up() -> None:
    one, two, three = [0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]
    measures = measure(scored([one, two, two, three, one], [0, 0, 2, 2, 2]))
    assert measures.confusion == ((1, 1, 0), (0, 0, 0), (1, 1, 1))
    by_label = {each.label: each for each in measures.labels}
    assert by_label["negative"].recall == 1 / 2
    assert by_label["negative"].precision == 1 / 2
    assert by_label["neutral"].recall is None
    assert by_label["neutral"].precision == 0
    assert by_label["positive"].recall == pytest.approx(1 / 3)
    assert measures.figures.macro_recall == pytest.approx((1 / 2 + 1 / 3) / 2)
    # Polar: neutral is excluded from the choice, so only the last row is wrong, and `two` is
    # nearer to positive.
    assert measures.polar_right == {0: True, 1: False, 2: True, 3: True, 4: False}


def test_a_label_that_is_never_predicted_has_no_precision() -> None:
    measures = measure(scored([[0.9, 0.1, 0.0]], [0]))
    assert [each.precision for each in measures.labels] == [1.0, None, None]


def test_the_interval_of_an_accuracy_is_wilsons() -> None:
    right, wrong = [0.9, 0.1, 0.0], [0.0, 0.1, 0.9]
    low, high = measure(scored([right] * 8 + [wrong] * 2, [0] * 10)).interval
    z, share, n = 1.959963984540054, 0.8, 10
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    spread = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    assert (low, high) == pytest.approx((centre - spread, centre + spread))


def test_the_worst_mistakes_are_the_most_confident_up_to_the_limit() -> None:
    rows = Rows("rows", ["a", "b", "c", "d"], ["negative"] * 4, "", [1, 2, 3, 4])
    probabilities = [[0.1, 0.6, 0.3], [0.0, 0.1, 0.9], [0.9, 0.1, 0.0], [0.1, 0.2, 0.7]]
    worst = worst_mistakes(scored(probabilities, [0] * 4), rows, most=2, with_text=True)
    assert [(one.text, one.score) for one in worst] == [("b", 0.9), ("d", 0.7)]


# Calibration


def test_the_calibration_error_of_a_known_case() -> None:
    # Ten texts at 0.95 with nine correct, ten at 0.65 with four correct.
    scores = [0.95] * 10 + [0.65] * 10
    right = [True] * 9 + [False] + [True] * 4 + [False] * 6
    calibration = calibration_of(scores, right)
    assert calibration.ece == pytest.approx((0.05 + 0.25) / 2)
    assert [one.rows for one in calibration.bins] == [10, 10]


def test_calibration_bins_equal_those_of_scikit_learn() -> None:
    chance = random.Random(1)
    scores = [chance.uniform(1 / 3, 1) for _ in range(5000)]
    right = [chance.random() < score**2 for score in scores]
    calibration = calibration_of(scores, right)
    shares, means = calibration_curve(right, scores, n_bins=15, strategy="uniform")
    assert [one.accuracy for one in calibration.bins] == pytest.approx(list(shares))
    assert [one.mean_score for one in calibration.bins] == pytest.approx(list(means))
    assert sum(one.rows for one in calibration.bins) == 5000
    assert 0.1 < calibration.ece < 0.3


def test_a_confident_and_correct_model_is_calibrated() -> None:
    assert calibration_of([1.0, 1.0], [True, True]).ece == 0.0
    assert calibration_of([1.0, 1.0], [False, False]).ece == 1.0


# Two models


def test_mcnemars_test_of_a_textbook_case() -> None:
    # Of ten discordant rows, nine favour the first model: 2 * (1 + 10) / 2**10.
    first = dict.fromkeys(range(20), True) | {19: False}
    second = dict.fromkeys(range(20), True) | dict.fromkeys(range(9), False)
    test = compare(first, second)
    assert test is not None
    assert (test.rows, test.only_first, test.only_second) == (20, 9, 1)
    assert test.p_value == pytest.approx(22 / 1024)
    assert test.is_significant
    assert test.difference == pytest.approx(0.4)
    assert test.low < 0.4 < test.high


def test_models_that_agree_do_not_differ_significantly() -> None:
    test = compare({1: True, 2: False}, {1: True, 2: False})
    assert test is not None
    assert test.p_value == 1.0
    assert not test.is_significant
    assert test.low < 0 < test.high
    assert compare({1: True}, {2: True}) is None


def test_the_interval_contains_the_true_difference_in_about_95_of_100_draws() -> None:
    chance = random.Random(7)
    contained = 0
    for _ in range(400):
        pairs = [chance.random() for _ in range(150)]
        # Only the first is right in 20 of 100 rows, only the second in 10.
        first = {row: value < 0.9 for row, value in enumerate(pairs)}
        second = {row: value >= 0.2 for row, value in enumerate(pairs)}
        test = compare(first, second)
        assert test is not None
        contained += test.low <= 0.1 <= test.high
    assert 0.92 < contained / 400 < 0.98


def test_swapping_the_models_changes_the_sign() -> None:
    first, second = {1: True, 2: True, 3: False}, {1: False, 2: False, 3: True}
    one, other = compare(first, second), compare(second, first)
    assert one is not None
    assert other is not None
    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p_value == other.p_value


# The average of files


def test_the_average_weights_files_equally_and_skips_missing_figures() -> None:
    good, bad = [0.9, 0.1, 0.0], [0.0, 0.1, 0.9]
    neutral = [0.1, 0.8, 0.1]
    large = measure(scored([good] * 30 + [bad] * 10, [0] * 40))
    small = measure(scored([neutral], [1]))
    facts = ModelFacts("m", None, "cpu", "float32", LABELS)
    files = (FileResult("large", 40, (large,), ((),)), FileResult("small", 1, (small,), ((),)))
    evaluation = Evaluation((facts,), files, None)
    (average,) = evaluation.averages
    assert average["accuracy"] == pytest.approx((0.75 + 1.0) / 2)
    assert average["polar_accuracy"] == 0.75
    kinds = [each["kind"] for each in evaluation.as_json()]
    assert kinds == ["file", "file", "average"]
