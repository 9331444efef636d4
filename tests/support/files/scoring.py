"""Scores texts by the rule of the test kit, at once, where a test is about files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from rich.console import Console

from sentq.contract import ErrorCode, Limits, Outcome, TextError, check_sendable
from sentq.files.run.command import run_files
from sentq.files.run.options import RunRequest
from sentq.files.run.scoring import ModelName, ScoredTexts
from sentq.files.run.tally import RunTally
from sentq.testing.scores import score_by_rule

__all__ = ["RULE", "RuleScoring", "run_by_rule"]

RULE = ModelName("rule", "1")

#: How many texts are read ahead, as a client does.
_TEXTS_PER_STEP = 64


class RuleScoring:
    """A `TextScoring` without a model.

    Args:
        model: How it calls itself.
    """

    def __init__(self, model: ModelName = RULE) -> None:
        self._model = model

    def score(self, texts: Iterable[object]) -> Iterator[ScoredTexts]:
        each = iter(texts)
        while found := list(islice(each, _TEXTS_PER_STEP)):
            yield ScoredTexts([_outcome(text) for text in found], self._model)


def _outcome(text: object) -> Outcome:
    problem = check_sendable(text, Limits())
    if problem is not None:
        return problem
    if not str(text).strip():
        return TextError(code=ErrorCode.EMPTY_TEXT, message="the text is empty")
    return score_by_rule(str(text))


def run_by_rule(
    inputs: str | list[str],
    out: str,
    *,
    scoring: RuleScoring | None = None,
    console: Console | None = None,
    **options: Any,
) -> RunTally:
    """Run `sentq score INPUTS --out OUT` with the rule."""
    request = RunRequest(
        inputs=[inputs] if isinstance(inputs, str) else inputs,
        out=out,
        program="sentq",
        **options,
    )
    return run_files(request, lambda: scoring or RuleScoring(), console or Console(quiet=True))
