"""The behaviour suite: cases with a result that every reader would expect of a sentiment model.

`behaviour.jsonl` has one case per line. The cases are written by hand, in the form of CheckList
(Ribeiro et al., Beyond Accuracy: Behavioral Testing of NLP Models, ACL 2020): a capability, a few
texts, and an expectation for all of them together.

    "expect": "negative"                 each text has this label
    "expect": "neutral|positive"         each text has one of these labels
    "expect": ["positive", "negative"]   one label per text: a minimal pair
    "expect": "same"                     all texts have the same label
    "expect": "rising"                   the sentiment of each text is above that of the text
                                         before by `gap` (default 0.1); a negative gap is a
                                         tolerance
    "expect": "none"                     the worker answers that there is nothing to score

The cases are for measuring: do not train on them, or choose a model by single cases.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING

import orjson

from sentq.contract import Prediction, TextError
from sentq_worker.evaluate.scored import outcomes_of
from sentq_worker.training.errors import TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sentq.contract import Outcome
    from sentq_worker.evaluate.scored import TextScorer

__all__ = ["Behaviour", "Case", "CaseResult", "Tally", "load_cases", "run_cases"]

#: Of the sentiment, which goes from -1 to 1.
_DEFAULT_GAP = 0.1

_SAME, _RISING, _NONE = "same", "rising", "none"


@dataclass(frozen=True, slots=True)
class Case:
    """A few texts, and the expectation for them together."""

    id: str
    capability: str
    texts: tuple[str, ...]
    expect: str | tuple[str, ...]
    gap: float = _DEFAULT_GAP

    @classmethod
    def from_json(cls, line: bytes) -> Case:
        """Parse a line of the suite."""
        row = orjson.loads(line)
        expect = row.pop("expect")
        return cls(
            texts=tuple(row.pop("texts")),
            expect=tuple(expect) if isinstance(expect, list) else expect,
            **row,
        )

    @property
    def expected_labels(self) -> list[set[str]]:
        """The allowed labels of each text; empty if the expectation is not about labels."""
        if self.expect in (_SAME, _RISING):
            return []
        each = [self.expect] * len(self.texts) if isinstance(self.expect, str) else self.expect
        return [set(one.split("|")) for one in each]

    @property
    def expectation(self) -> str:
        """The expectation as text."""
        if self.expect == _RISING and self.gap < 0:
            return "not falling"
        return self.expect if isinstance(self.expect, str) else ", ".join(self.expect)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of a model in a case; `answers` has a label, or None, for each text."""

    case: Case
    passed: bool
    answers: tuple[str | None, ...]
    sentiments: tuple[float | None, ...]

    def as_json(self) -> dict[str, object]:
        """Return the result as JSON."""
        return {
            "id": self.case.id,
            "texts": list(self.case.texts),
            "expected": self.case.expectation,
            "answers": list(self.answers),
            "sentiments": [None if one is None else round(one, 4) for one in self.sentiments],
        }


@dataclass(frozen=True, slots=True)
class Tally:
    """The number of passed cases, out of `cases`."""

    passed: int
    cases: int

    @property
    def share(self) -> float:
        """The share of passed cases, from 0 to 1."""
        return self.passed / self.cases

    def as_json(self) -> dict[str, object]:
        """Return the counts and the share as JSON."""
        return {"passed": self.passed, "cases": self.cases, "share": round(self.share, 4)}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The results of a model; `left_out` cases need a label that the model lacks."""

    results: tuple[CaseResult, ...]
    left_out: int

    @property
    def overall(self) -> Tally:
        """The tally over all cases."""
        return _tally(self.results)

    @property
    def capabilities(self) -> dict[str, Tally]:
        """The tally of each capability, in the order of the suite."""
        groups: dict[str, list[CaseResult]] = defaultdict(list)
        for result in self.results:
            groups[result.case.capability].append(result)
        return {name: _tally(results) for name, results in groups.items()}

    @property
    def failures(self) -> list[CaseResult]:
        """The results of the failed cases."""
        return [result for result in self.results if not result.passed]

    @property
    def passed_by_id(self) -> dict[str, bool]:
        """Whether each case was passed, by its id."""
        return {result.case.id: result.passed for result in self.results}

    def as_json(self) -> dict[str, object]:
        """Return tallies and failures as JSON."""
        return {
            **self.overall.as_json(),
            "left_out": self.left_out,
            "capabilities": {name: tally.as_json() for name, tally in self.capabilities.items()},
            "failures": [result.as_json() for result in self.failures],
        }


def load_cases() -> list[Case]:
    """Load the cases of the suite."""
    data = resources.files("sentq_worker.evaluate").joinpath("behaviour.jsonl").read_bytes()
    return [Case.from_json(line) for line in data.splitlines()]


def run_cases(
    cases: Sequence[Case], scorer: TextScorer, *, advance: Callable[[int], None]
) -> Behaviour:
    """Score the texts of the cases and compare the results with the expectations.

    Cases that expect a label which the model lacks are left out.

    Args:
        advance: Called with the number of texts scored since the last call.

    Raises:
        TrainingDataError: The model lacks the label negative or positive.
    """
    labels = set(scorer.label_names)
    if not {"negative", "positive"} <= labels:
        raise TrainingDataError(
            "the behaviour suite needs a model with the labels negative and positive, and this "
            f"one has {', '.join(scorer.label_names)}: SENTQ_WORKER_LABELS renames them"
        )
    usable = [case for case in cases if _is_usable(case, labels)]
    texts = [text for case in usable for text in case.texts]
    outcomes = iter(outcomes_of(texts, scorer, advance=advance))
    results = tuple(_judge(case, [next(outcomes) for _ in case.texts]) for case in usable)
    return Behaviour(results, len(cases) - len(usable))


def _is_usable(case: Case, labels: set[str]) -> bool:
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
