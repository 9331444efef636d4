"""The behaviour suite: what any person would expect of a sentiment model, case by case.

The cases stand in `behaviour.jsonl`, one a line, written by hand after the idea of CheckList
(Ribeiro et al., Beyond Accuracy: Behavioral Testing of NLP Models, ACL 2020): a capability, a few
texts, and what is to hold for all of them together.

    "expect": "negative"                 each text has this label
    "expect": "neutral|positive"         ... or one of these
    "expect": ["positive", "negative"]   one for each text: a minimal pair
    "expect": "same"                     all texts have the same label, whichever
    "expect": "rising"                   each text's sentiment is above the one's before it by
                                         `gap`, 0.1 if not given; below 0 it is a tolerance
    "expect": "none"                     there is nothing to score, and the worker says so

They measure; nobody should train on them, nor choose a model by single ones.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import orjson

from sentq.contract import Prediction, TextError
from sentq_worker.evaluate.scored import outcomes_of
from sentq_worker.training.errors import TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sentq.contract import Outcome
    from sentq_worker.evaluate.scored import TextScorer

__all__ = ["Behaviour", "Case", "CaseResult", "Tally", "load_cases", "run_cases"]

#: Polarity goes from -1 to 1.
_LEAST_RISE = 0.1

_SAME, _RISING, _NONE = "same", "rising", "none"


@dataclass(frozen=True, slots=True)
class Case:
    """Texts, and what is to hold for them together."""

    id: str
    capability: str
    texts: tuple[str, ...]
    expect: str | tuple[str, ...]
    gap: float = _LEAST_RISE

    @classmethod
    def from_json(cls, line: bytes) -> Case:
        row = orjson.loads(line)
        expect = row.pop("expect")
        return cls(
            texts=tuple(row.pop("texts")),
            expect=tuple(expect) if isinstance(expect, list) else expect,
            **row,
        )

    @property
    def expected_labels(self) -> list[set[str]]:
        """The labels that each text may have; empty where labels are not what is asked."""
        if self.expect in (_SAME, _RISING):
            return []
        each = [self.expect] * len(self.texts) if isinstance(self.expect, str) else self.expect
        return [set(one.split("|")) for one in each]

    @property
    def expectation(self) -> str:
        """What is expected, in a few words."""
        if self.expect == _RISING and self.gap < 0:
            return "not falling"
        return self.expect if isinstance(self.expect, str) else ", ".join(self.expect)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a model did in a case. `answers` has a label, or None, for each text."""

    case: Case
    passed: bool
    answers: tuple[str | None, ...]
    sentiments: tuple[float | None, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.case.id,
            "texts": list(self.case.texts),
            "expected": self.case.expectation,
            "answers": list(self.answers),
            "sentiments": [None if one is None else round(one, 4) for one in self.sentiments],
        }


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of `cases` were passed."""

    passed: int
    cases: int

    @property
    def share(self) -> float:
        return self.passed / self.cases

    def as_json(self) -> dict[str, Any]:
        return {"passed": self.passed, "cases": self.cases, "share": round(self.share, 4)}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a model did in all cases that its labels allow; `left_out` others need another label."""

    results: tuple[CaseResult, ...]
    left_out: int

    @property
    def overall(self) -> Tally:
        return _tally(self.results)

    @property
    def capabilities(self) -> dict[str, Tally]:
        """In the order of the suite."""
        groups: dict[str, list[CaseResult]] = defaultdict(list)
        for result in self.results:
            groups[result.case.capability].append(result)
        return {name: _tally(results) for name, results in groups.items()}

    @property
    def failures(self) -> list[CaseResult]:
        return [result for result in self.results if not result.passed]

    @property
    def passed_by_id(self) -> dict[str, bool]:
        return {result.case.id: result.passed for result in self.results}

    def as_json(self) -> dict[str, Any]:
        return {
            **self.overall.as_json(),
            "left_out": self.left_out,
            "capabilities": {name: tally.as_json() for name, tally in self.capabilities.items()},
            "failures": [result.as_json() for result in self.failures],
        }


def load_cases() -> list[Case]:
    """Read the suite."""
    data = resources.files("sentq_worker.evaluate").joinpath("behaviour.jsonl").read_bytes()
    return [Case.from_json(line) for line in data.splitlines()]


def run_cases(
    cases: Sequence[Case], scorer: TextScorer, *, advance: Callable[[int], None]
) -> Behaviour:
    """Score the cases' texts and judge them; `advance` is told how many more texts are scored.

    A case that expects a label which the model has not is left out.

    Raises:
        TrainingDataError: The model does not tell negative from positive.
    """
    labels = set(scorer.label_names)
    if not {"negative", "positive"} <= labels:
        raise TrainingDataError(
            "the behaviour suite needs a model with the labels negative and positive, and this "
            f"one has {', '.join(scorer.label_names)}: SENTQ_WORKER_LABELS renames them"
        )
    fitting = [case for case in cases if _fits(case, labels)]
    texts = [text for case in fitting for text in case.texts]
    outcomes = iter(outcomes_of(texts, scorer, advance=advance))
    results = tuple(_judge(case, [next(outcomes) for _ in case.texts]) for case in fitting)
    return Behaviour(results, len(cases) - len(fitting))


def _fits(case: Case, labels: set[str]) -> bool:
    return all(allowed & (labels | {_NONE}) for allowed in case.expected_labels)


def _judge(case: Case, outcomes: Sequence[Outcome]) -> CaseResult:
    answers = tuple(one.label if isinstance(one, Prediction) else None for one in outcomes)
    sentiments = tuple(one.sentiment if isinstance(one, Prediction) else None for one in outcomes)
    return CaseResult(case, _holds(case, outcomes, answers, sentiments), answers, sentiments)


def _holds(
    case: Case,
    outcomes: Sequence[Outcome],
    answers: Sequence[str | None],
    sentiments: Sequence[float | None],
) -> bool:
    if case.expect == _NONE:
        return all(isinstance(one, TextError) for one in outcomes)
    if case.expect == _SAME:
        return None not in answers and len(set(answers)) == 1
    if case.expect == _RISING:
        return all(
            below is not None and above is not None and above - below >= case.gap
            for below, above in pairwise(sentiments)
        )
    pairs = zip(answers, case.expected_labels, strict=True)
    return all(answer in allowed for answer, allowed in pairs)


def _tally(results: Sequence[CaseResult]) -> Tally:
    return Tally(sum(result.passed for result in results), len(results))
