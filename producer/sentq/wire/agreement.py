"""Whether the workers of a queue agree: the same model, labels and major version.

A client does not choose the worker that takes its job. So workers of one queue that differ give
different outcomes for the same text.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from sentq.contract import MAIN_MODEL
from sentq.wire.reports import ReportedModel, WorkerReport

__all__ = [
    "Disagreement",
    "Topic",
    "describe_labels",
    "differences",
    "differing_topics",
    "disagreements",
    "value_of",
    "with_revision",
]

_SHOWN_DIGITS: Final = 12
_DIGEST_PREFIX: Final = "sha256:"

#: What a report holds of labels: a model may have thousands.
_SHOWN_LABELS: Final = 16
_LABEL_CHARS: Final = 40

#: What workers have, with their names.
_Values = tuple[tuple[str, tuple[str, ...]], ...]


class Topic(StrEnum):
    """What workers of a queue have in common, if they agree."""

    MODEL = "model"
    REVISION = "revision"
    LABELS = "labels"
    MODELS = "further models"
    VERSION = "major version"


class Disagreement(BaseModel):
    """Workers of the same queues that differ.

    Attributes:
        topic: In what they differ.
        queues: The queues that they read.
        values: What they have, by the names of the workers that have it.
    """

    model_config = ConfigDict(frozen=True)

    topic: Topic
    queues: tuple[str, ...]
    values: dict[str, tuple[str, ...]]


def disagreements(reports: Sequence[WorkerReport]) -> tuple[Disagreement, ...]:
    """Return in what workers differ from the other workers of their queues.

    What a worker does not report, such as the model while it is being loaded, is not compared.
    Revisions are compared only between workers of the same model.
    """
    found: dict[tuple[Topic, _Values], list[str]] = {}
    for queue in sorted({queue for report in reports for queue in report.queues}):
        readers = [report for report in reports if queue in report.queues]
        for topic in Topic:
            for values in _different_values(topic, readers):
                found.setdefault((topic, values), []).append(queue)
    return tuple(
        Disagreement(topic=topic, queues=tuple(queues), values=dict(values))
        for (topic, values), queues in found.items()
    )


def differences(one: WorkerReport, other: WorkerReport) -> tuple[Topic, ...]:
    """Return in what two workers differ; nothing if they have no queue in common."""
    if not set(one.queues) & set(other.queues):
        return ()
    return tuple(topic for topic in Topic if _different_values(topic, [one, other]))


def differing_topics(worker: str, found: Sequence[Disagreement]) -> tuple[Topic, ...]:
    """Return in what a worker differs from most of the others; if there is no majority, in what it
    differs from any other."""
    topics = []
    for disagreement in found:
        counts = Counter({value: len(names) for value, names in disagreement.values.items()})
        (first, most), (_, second) = counts.most_common(2)
        majority = first if most > second else None
        own = next((v for v, names in disagreement.values.items() if worker in names), None)
        if own is not None and own != majority and disagreement.topic not in topics:
            topics.append(disagreement.topic)
    return tuple(topics)


def describe_labels(names: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """Return what a worker reports of the names of its labels: the first ones, shortened, and a
    digest of all, in any order. Nothing if there are none."""
    if not names:
        return (), None
    in_order = sorted(names)
    digest = hashlib.sha256(json.dumps(in_order).encode()).hexdigest()[:_SHOWN_DIGITS]
    return tuple(name[:_LABEL_CHARS] for name in in_order[:_SHOWN_LABELS]), digest


def value_of(topic: Topic, report: WorkerReport) -> str | None:
    """Return what a worker has of a topic, for people; None if it does not report it."""
    match topic:
        case Topic.MODEL:
            return report.model
        case Topic.REVISION:
            return report.revision and f"{report.model} at {_short_revision(report.revision)}"
        case Topic.LABELS:
            return report.labels_digest and _shown_labels(report)
        case Topic.MODELS:
            return report.model and (", ".join(map(_shown_model, _further(report))) or "none")
        case Topic.VERSION:
            return report.version and report.version.partition(".")[0]


def _short_revision(revision: str) -> str:
    """Return the first digits of a revision."""
    digits = revision.removeprefix(_DIGEST_PREFIX)
    return revision[: len(revision) - len(digits) + _SHOWN_DIGITS]


def with_revision(model: str | None, revision: str | None) -> str | None:
    """Return a model with the first digits of its revision, if both are known."""
    return f"{model}@{_short_revision(revision)}" if model and revision else model


def _further(report: WorkerReport) -> list[ReportedModel]:
    """Return the models that jobs may ask for by name, as long as no roll changes them."""
    rolled = report.roll.names if report.roll else ()
    return [model for model in report.models if model.name not in (MAIN_MODEL, *rolled)]


def _shown_model(model: ReportedModel) -> str:
    revision = f" at {_short_revision(model.revision)}" if model.revision else ""
    return f"{model.name}: {model.model}{revision}"


def _shown_labels(report: WorkerReport) -> str:
    names = ", ".join(report.labels)
    is_short = len(report.labels) < _SHOWN_LABELS and all(
        len(name) < _LABEL_CHARS for name in report.labels
    )
    return names if is_short else f"{names} … ({report.labels_digest})"


def _different_values(topic: Topic, reports: Sequence[WorkerReport]) -> list[_Values]:
    """Return the values of a topic with the workers that have them, for each set of workers that
    should agree and does not."""
    groups: dict[str | None, dict[str, list[str]]] = {}
    for report in _with_one_name_for_each_model(reports):
        value = value_of(topic, report)
        if value is not None:
            group = groups.setdefault(report.model if topic is Topic.REVISION else None, {})
            group.setdefault(value, []).append(report.worker)
    return [
        tuple((value, tuple(names)) for value, names in group.items())
        for group in groups.values()
        if len(group) > 1
    ]


def _with_one_name_for_each_model(reports: Sequence[WorkerReport]) -> list[WorkerReport]:
    """Two folders may hold the same files: the revision tells, not the name."""
    names: dict[str, str | None] = {}
    for report in reports:
        if report.revision is not None:
            names.setdefault(report.revision, report.model)
    return [
        report.model_copy(update={"model": names.get(report.revision or "", report.model)})
        for report in reports
    ]
