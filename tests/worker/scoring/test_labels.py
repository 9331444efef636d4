"""Labels: mapped to the contract's names if they mean the same, otherwise the model's own."""

from __future__ import annotations

import pytest

from sentq_worker.scoring.labels import Labels


@pytest.mark.parametrize(
    ("own", "names"),
    [
        (["NEGATIVE", "POSITIVE"], ("negative", "positive")),
        (["Negative", "Neutral", "Positive"], ("negative", "neutral", "positive")),
        (["POS", "NEU", "NEG"], ("positive", "neutral", "negative")),
        (["joy", "anger"], ("joy", "anger")),
        (["negative", "positive", "mixed"], ("negative", "positive", "mixed")),
        (["pos", "positive"], ("pos", "positive")),
        (["1 star", "2 stars", "3 stars"], ("1 star", "2 stars", "3 stars")),
        (["LABEL_0", "LABEL_1"], ("LABEL_0", "LABEL_1")),
    ],
)
def test_labels_are_mapped_to_names_of_the_contract(own: list[str], names: tuple[str, ...]) -> None:
    assert Labels(own).names == names


def test_sentiment_is_the_expected_polarity() -> None:
    assert Labels(["NEG", "POS"]).sentiment([0.25, 0.75]) == pytest.approx(0.5)
    assert Labels(["negative", "neutral", "positive"]).sentiment([0.2, 0.7, 0.1]) == pytest.approx(
        -0.1
    )


@pytest.mark.parametrize(
    ("own", "polarities"),
    [
        (["1 star", "2 stars", "3 stars", "4 stars", "5 stars"], [-1, -0.5, 0, 0.5, 1]),
        (["3 STARS", "2 stars", "1 star"], [1, 0, -1]),
        (
            ["Very Negative", "Negative", "Neutral", "Positive", "Very Positive"],
            [-1, -0.5, 0, 0.5, 1],
        ),
    ],
)
def test_degrees_of_polarity(own: list[str], polarities: list[float]) -> None:
    for index, polarity in enumerate(polarities):
        certain = [float(index == other) for other in range(len(own))]
        assert Labels(own).sentiment(certain) == pytest.approx(polarity)


@pytest.mark.parametrize(
    "own",
    [
        ["joy", "anger"],
        ["LABEL_0", "LABEL_1", "LABEL_2"],
        ["1 star", "3 stars"],
        ["1 star"],
        ["positive"],
        ["negative", "positive", "mixed"],
    ],
)
def test_labels_without_polarity_have_no_sentiment(own: list[str]) -> None:
    assert Labels(own).sentiment([1 / len(own)] * len(own)) is None


def test_renamed_labels_have_the_polarity_of_their_new_names() -> None:
    labels = Labels(["LABEL_0", "LABEL_1"], {"LABEL_0": "NEG", "LABEL_1": "pos"})
    assert labels.names == ("negative", "positive")
    assert labels.sentiment([0.25, 0.75]) == pytest.approx(0.5)


@pytest.mark.parametrize("renamed", [{"LABEL_7": "negative"}, {"LABEL_0": "LABEL_1"}])
def test_invalid_new_names_are_rejected(renamed: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="LABEL_"):
        Labels(["LABEL_0", "LABEL_1"], renamed)
