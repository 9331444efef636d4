"""The results of an evaluation of one or two models: files, their average, behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sentq_worker.evaluate.comparison import compare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentq_worker.evaluate.behaviour import Behaviour, Tally
    from sentq_worker.evaluate.comparison import Comparison
    from sentq_worker.evaluate.measures import Measures, Mistake

__all__ = ["AVERAGED", "BehaviourResult", "Evaluation", "FileResult", "ModelFacts"]

#: The figures that are averaged over files, by their keys in the JSON of a file.
AVERAGED = ("accuracy", "macro_f1", "macro_recall", "polar_accuracy", "ece")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The identity of a model, and how it was computed."""

    name: str
    revision: str | None
    backend: str
    dtype: str
    labels: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return the facts as JSON, without the labels."""
        return {
            "model": self.name,
            "revision": self.revision,
            "backend": self.backend,
            "dtype": self.dtype,
        }


@dataclass(frozen=True, slots=True)
class FileResult:
    """The figures of one file, one `Measures` per model."""

    name: str
    rows: int
    measures: tuple[Measures, ...]
    mistakes: tuple[tuple[Mistake, ...], ...]

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """The comparison of two models by measure; empty for one model."""
        if len(self.measures) == 1:
            return {}
        first, second = self.measures
        tests = {
            "accuracy": compare(first.right, second.right),
            "polar_accuracy": compare(first.polar_right, second.polar_right),
        }
        return {name: test for name, test in tests.items() if test is not None}


@dataclass(frozen=True, slots=True)
class BehaviourResult:
    """The results of the behaviour suite, one `Behaviour` per model."""

    behaviours: tuple[Behaviour, ...]

    @property
    def capabilities(self) -> dict[str, list[Tally | None]]:
        """The tallies of each capability, one per model; None if its labels allow no case."""
        each = [one.capabilities for one in self.behaviours]
        names = dict.fromkeys(name for tallies in each for name in tallies)
        return {name: [tallies.get(name) for tallies in each] for name in names}

    @property
    def comparison(self) -> Comparison | None:
        """The comparison over the cases of both models; None for one model."""
        if len(self.behaviours) == 1:
            return None
        first, second = (one.passed_by_id for one in self.behaviours)
        return compare(first, second)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of one run of the command; the first model is that of --model."""

    models: tuple[ModelFacts, ...]
    files: tuple[FileResult, ...]
    behaviour: BehaviourResult | None

    @property
    def averages(self) -> list[dict[str, float | None]]:
        """The means over the files, one dict per model: all files have the same weight.

        A mean is None if no file has the figure.
        """
        return [
            {
                name: _mean(file.measures[model].averaged()[name] for file in self.files)
                for name in AVERAGED
            }
            for model in range(len(self.models))
        ]

    def as_json(self) -> Iterator[dict[str, object]]:
        """Yield one object per file, then one for their average, then one for behaviour.

        The average is only there for several files. With two models, `against` holds the figures
        of the second, and `comparison` the tests.
        """
        for file in self.files:
            objects = [
                {
                    **facts.as_json(),
                    **measures.as_json(),
                    "mistakes": [one.as_json() for one in mistakes],
                }
                for facts, measures, mistakes in zip(
                    self.models, file.measures, file.mistakes, strict=True
                )
            ]
            tests = {name: one.as_json() for name, one in file.comparisons.items()}
            yield {"kind": "file", "file": file.name, **_side_by_side(objects, tests)}
        if len(self.files) > 1:
            objects = [
                facts.as_json() | average
                for facts, average in zip(self.models, self.averages, strict=True)
            ]
            yield {"kind": "average", "files": len(self.files), **_side_by_side(objects)}
        if self.behaviour is not None:
            objects = [
                facts.as_json() | behaviour.as_json()
                for facts, behaviour in zip(self.models, self.behaviour.behaviours, strict=True)
            ]
            test = self.behaviour.comparison
            tests = {} if test is None else {"passed": test.as_json()}
            yield {"kind": "behaviour", **_side_by_side(objects, tests)}


def _side_by_side(
    objects: list[dict[str, object]], tests: dict[str, dict[str, object]] | None = None
) -> dict[str, object]:
    if len(objects) == 1:
        return objects[0]
    first, second = objects
    return {**first, "against": second, **({"comparison": tests} if tests else {})}


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None
