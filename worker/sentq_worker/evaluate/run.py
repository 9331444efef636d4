"""One model through everything that it is to be measured on; then models side by side."""

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
    from sentq_worker.scoring.scorer import Scorer
    from sentq_worker.training.data.rows import Rows

__all__ = ["EvaluationTask", "ProgressListener", "evaluate_models"]

#: Enough of a revision to tell two apart, its `sha256:` included.
_REVISION_CHARS = 15


class ProgressListener(Protocol):
    """Shows how far the work is."""

    def begin(self, what: str, texts: int) -> None:
        """Another part has begun."""
        ...

    def advance(self, texts: int) -> None:
        """So many more texts of it are scored."""
        ...


@dataclass(frozen=True, slots=True)
class EvaluationTask:
    """What to measure models on, and how many mistakes to keep."""

    files: Sequence[Rows]
    with_behaviour: bool
    mistakes: int
    show_text: bool


@dataclass(frozen=True, slots=True)
class _Run:
    """What one model did."""

    facts: ModelFacts
    measures: tuple[Measures, ...]
    mistakes: tuple[tuple[Mistake, ...], ...]
    behaviour: Behaviour | None


def evaluate_models(
    load_each: Iterable[Callable[[], Scorer]], task: EvaluationTask, progress: ProgressListener
) -> Evaluation:
    """Measure one model, or two; they are loaded one after the other, never both at once.

    Raises:
        TrainingDataError: A model lacks a label of the data, or labels for the behaviour suite.
    """
    runs = [_run(load(), task, progress) for load in load_each]
    files = tuple(
        FileResult(
            rows.name,
            len(rows),
            tuple(run.measures[number] for run in runs),
            tuple(run.mistakes[number] for run in runs),
        )
        for number, rows in enumerate(task.files)
    )
    behaviours = tuple(run.behaviour for run in runs if run.behaviour is not None)
    return Evaluation(
        models=_with_distinct_names([run.facts for run in runs]),
        files=files,
        behaviour=BehaviourResult(behaviours) if behaviours else None,
    )


def _run(scorer: Scorer, task: EvaluationTask, progress: ProgressListener) -> _Run:
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
    return _Run(facts, tuple(all_measures), tuple(all_mistakes), behaviour)


def _facts(scorer: Scorer) -> ModelFacts:
    info = scorer.engine.info
    backend = info.backend.removeprefix("local:")
    return ModelFacts(info.model, info.revision, backend, info.dtype, scorer.label_names)


def _with_distinct_names(models: Sequence[ModelFacts]) -> tuple[ModelFacts, ...]:
    """Add the revision to names that are the same."""
    if len({facts.name for facts in models}) == len(models):
        return tuple(models)
    return tuple(
        replace(facts, name=f"{facts.name} {(facts.revision or '')[:_REVISION_CHARS]}")
        for facts in models
    )
