"""Evaluate one or two models on files and on the behaviour suite."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from sentq_worker.evaluate.behaviour import load_cases, run_cases
from sentq_worker.evaluate.measures import measure, worst_mistakes
from sentq_worker.evaluate.results import BehaviourResult, Evaluation, FileResult, ModelFacts
from sentq_worker.evaluate.scored import check_labels, score_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sentq_worker.evaluate.behaviour import Behaviour
    from sentq_worker.evaluate.measures import Measures, Mistake
    from sentq_worker.scoring.scorer import EngineScorer
    from sentq_worker.training.data.rows import Rows

__all__ = ["EvaluationTask", "ProgressListener", "evaluate_models"]

#: Characters of a revision that distinguish two models, with its prefix `sha256:`.
_REVISION_CHARS = 15


class ProgressListener(Protocol):
    """Receives the progress of an evaluation."""

    def begin(self, what: str, texts: int) -> None:
        """Start the part `what`, which has so many texts."""
        ...

    def advance(self, texts: int) -> None:
        """Report how many texts of the part were scored since the last call."""
        ...


@dataclass(frozen=True, slots=True)
class EvaluationTask:
    """The files and the suite to evaluate on, and the number of mistakes to keep."""

    files: Sequence[Rows]
    with_behaviour: bool
    mistakes: int
    show_text: bool


@dataclass(frozen=True, slots=True)
class _ModelResult:
    """The results of one model."""

    facts: ModelFacts
    measures: tuple[Measures, ...]
    mistakes: tuple[tuple[Mistake, ...], ...]
    behaviour: Behaviour | None


def evaluate_models(
    load_each: Iterable[Callable[[], EngineScorer]],
    task: EvaluationTask,
    progress: ProgressListener,
) -> Evaluation:
    """Evaluate one or two models; only one of them is loaded at a time.

    Raises:
        TrainingDataError: A model lacks a label of the data, or labels for the behaviour suite.
    """
    results = [_evaluate(load(), task, progress) for load in load_each]
    files = tuple(
        FileResult(
            rows.name,
            len(rows),
            tuple(result.measures[number] for result in results),
            tuple(result.mistakes[number] for result in results),
        )
        for number, rows in enumerate(task.files)
    )
    behaviours = tuple(result.behaviour for result in results if result.behaviour is not None)
    return Evaluation(
        models=_with_distinct_names([result.facts for result in results]),
        files=files,
        behaviour=BehaviourResult(behaviours) if behaviours else None,
    )


def _evaluate(
    scorer: EngineScorer, task: EvaluationTask, progress: ProgressListener
) -> _ModelResult:
    facts = _facts(scorer)
    for rows in task.files:
        check_labels(rows, facts.labels)
    all_measures, all_mistakes = [], []
    for rows in task.files:
        progress.begin(f"{facts.name}: {rows.name}", len(rows))
        scored = score_rows(rows, scorer, advance=progress.advance)
        all_measures.append(measure(scored))
        mistakes = worst_mistakes(scored, rows, most=task.mistakes, with_text=task.show_text)
        all_mistakes.append(tuple(mistakes))
    behaviour = None
    if task.with_behaviour:
        cases = load_cases()
        progress.begin(f"{facts.name}: behaviour", sum(len(case.texts) for case in cases))
        behaviour = run_cases(cases, scorer, advance=progress.advance)
    return _ModelResult(facts, tuple(all_measures), tuple(all_mistakes), behaviour)


def _facts(scorer: EngineScorer) -> ModelFacts:
    info = scorer.engine.info
    backend = info.backend.removeprefix("local:")
    return ModelFacts(info.model, info.revision, backend, info.dtype, scorer.label_names)


def _with_distinct_names(models: Sequence[ModelFacts]) -> tuple[ModelFacts, ...]:
    """Add the revision to names that are equal."""
    if len({facts.name for facts in models}) == len(models):
        return tuple(models)
    return tuple(
        replace(facts, name=f"{facts.name} {(facts.revision or '')[:_REVISION_CHARS]}")
        for facts in models
    )
