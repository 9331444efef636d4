"""Labels: in the contract's words where the model's say the same, the model's own otherwise."""

from __future__ import annotations

import pytest

from sentq_worker.labels import Labels


@pytest.mark.parametrize(
    ("own", "names"),
    [
        (["NEGATIVE", "POSITIVE"], ("negative", "positive")),
        (["Negative", "Neutral", "Positive"], ("negative", "neutral", "positive")),
        (["POS", "NEU", "NEG"], ("positive", "neutral", "negative")),
        (["joy", "anger"], ("joy", "anger")),
        (["negative", "positive", "mixed"], ("negative", "positive", "mixed")),
        (["pos", "positive"], ("pos", "positive")),
    ],
)
def test_names(own: list[str], names: tuple[str, ...]) -> None:
    assert Labels(own).names == names


def test_sentiment_is_the_expected_polarity() -> None:
    assert Labels(["NEG", "POS"]).sentiment([0.25, 0.75]) == pytest.approx(0.5)
    assert Labels(["negative", "neutral", "positive"]).sentiment([0.2, 0.7, 0.1]) == pytest.approx(
        -0.1
    )


def test_labels_without_polarity_have_no_sentiment() -> None:
    assert Labels(["joy", "anger"]).sentiment([0.5, 0.5]) is None
