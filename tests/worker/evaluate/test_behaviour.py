"""The behaviour suite: its cases are valid, and its judge is correct."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
import pytest

from sentq.contract import ErrorCode, Prediction, TextError
from sentq_worker.evaluate.behaviour import Behaviour, Case, load_cases, run_cases
from sentq_worker.training.errors import TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentq.contract import Outcome

_LABELS = {"negative", "neutral", "positive"}


@dataclass
class SentimentScorer:
    """A scorer with a scripted sentiment per text, and an error for other texts."""

    sentiments: dict[str, float]
    label_names: tuple[str, ...] = ("negative", "neutral", "positive")

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        return [[self._outcome(str(text)) for text in job] for job in jobs]

    def _outcome(self, text: str) -> Outcome:
        if text not in self.sentiments:
            return TextError(code=ErrorCode.EMPTY_TEXT, message="nothing to score")
        sentiment = self.sentiments[text]
        label = "negative" if sentiment < -0.3 else "positive" if sentiment > 0.3 else "neutral"
        return Prediction(
            label=label, score=1.0, scores={label: 1.0}, sentiment=sentiment, tokens=1, windows=1
        )


def case(*texts: str, expect: str | list[str], **options: float) -> Case:
    row = {"id": "x", "capability": "any", "texts": texts, "expect": expect, **options}
    return Case.from_json(orjson.dumps(row))


def judged(one: Case, **sentiments: float) -> bool:
    behaviour = run_cases([one], SentimentScorer(sentiments), advance=lambda _: None)
    return behaviour.results[0].passed


# The cases


def test_the_suite_has_at_least_150_unique_cases() -> None:
    cases = load_cases()
    assert len(cases) >= 150
    assert len({one.id for one in cases}) == len(cases)
    assert len({one.texts for one in cases}) == len(cases)


def test_each_capability_has_enough_cases_for_a_rate() -> None:
    counts = Counter(one.capability for one in load_cases())
    assert min(counts.values()) >= 10
    asked = {"negation", "not bad", "double negation", "sarcasm", "emoji", "capital letters"}
    asked |= {"product reviews", "news headlines", "empty and one word", "questions"}
    asked |= {"names and places", "typing errors", "contrast", "comparatives", "numbers"}
    asked |= {"change over time", "user names and links"}
    assert asked <= set(counts)
    assert counts["ratings"] >= 20


def test_every_case_can_be_judged() -> None:
    for one in load_cases():
        assert -1 < one.gap < 1, one.id
        if one.expect in {"same", "rising"}:
            assert len(one.texts) >= 2, one.id
            assert len(set(one.texts)) == len(one.texts), one.id
        else:
            assert len(one.expected_labels) == len(one.texts), one.id
            assert all(allowed <= _LABELS | {"none"} for allowed in one.expected_labels), one.id


def test_no_constant_label_passes_most_of_the_suite() -> None:
    cases = load_cases()
    for sentiment in (-0.9, 0.0, 0.9):
        always = dict.fromkeys(
            (text for one in cases for text in one.texts if text.strip()), sentiment
        )
        behaviour = run_cases(cases, SentimentScorer(always), advance=lambda _: None)
        assert behaviour.overall.share < 0.5


# The judge


def test_a_label_is_required_of_each_text() -> None:
    assert judged(case("a", "b", expect="negative"), a=-0.9, b=-0.5)
    assert not judged(case("a", "b", expect="negative"), a=-0.9, b=0.1)
    assert judged(case("a", expect="neutral|positive"), a=0.0)
    assert not judged(case("a", expect="neutral|positive"), a=-0.9)


def test_a_pair_passes_only_as_a_whole() -> None:
    pair = case("a", "b", expect=["positive", "negative"])
    assert judged(pair, a=0.9, b=-0.9)
    assert not judged(pair, a=0.9, b=0.9)
    assert not judged(pair, a=-0.9, b=-0.9)
    assert not judged(pair, a=-0.9, b=0.9)


def test_an_invariance_case_requires_the_same_label_of_all_texts() -> None:
    same = case("a", "b", expect="same")
    assert judged(same, a=0.9, b=0.4)
    assert not judged(same, a=0.9, b=0.2)
    assert not judged(same, a=0.9)
    assert not judged(same)


def test_sentiment_must_rise_by_the_gap_at_each_step() -> None:
    rising = case("a", "b", "c", expect="rising")
    assert judged(rising, a=-0.9, b=-0.5, c=0.9)
    assert not judged(rising, a=-0.9, b=-0.85, c=0.9)
    assert not judged(rising, a=-0.9, b=0.9, c=0.5)
    assert not judged(rising, a=-0.9, c=0.5)
    tolerant = case("a", "b", expect="rising", gap=-0.05)
    assert judged(tolerant, a=0.9, b=0.87)
    assert not judged(tolerant, a=0.9, b=0.8)


def test_an_empty_text_must_have_no_score() -> None:
    nothing = case("a", expect="none")
    assert judged(nothing)
    assert not judged(nothing, a=0.0)


def test_neutral_is_not_required_of_a_model_without_it() -> None:
    cases = [case("a", expect="neutral"), case("b", expect="neutral|positive")]
    scorer = SentimentScorer({"a": 0.9, "b": 0.9}, label_names=("negative", "positive"))
    behaviour = run_cases(cases, scorer, advance=lambda _: None)
    assert behaviour.left_out == 1
    assert behaviour.overall.cases == 1


def test_a_model_with_other_labels_is_rejected_with_how_to_rename_them() -> None:
    scorer = SentimentScorer({}, label_names=("LABEL_0", "LABEL_1"))
    with pytest.raises(TrainingDataError, match=r"LABEL_0, LABEL_1: SENTQ_WORKER_LABELS"):
        run_cases(load_cases(), scorer, advance=lambda _: None)


def test_rates_are_per_capability_and_failures_are_listed_in_full() -> None:
    cases = [case("a", expect="negative"), case("b", expect="positive")]
    behaviour = run_cases(cases, SentimentScorer({"a": -0.9, "b": -0.9}), advance=lambda _: None)
    assert isinstance(behaviour, Behaviour)
    shown = behaviour.as_json()
    assert shown["capabilities"] == {"any": {"passed": 1, "cases": 2, "share": 0.5}}
    assert shown["failures"] == [
        {
            "id": "x",
            "texts": ["b"],
            "expected": "positive",
            "answers": ["negative"],
            "sentiments": [-0.9],
        }
    ]
