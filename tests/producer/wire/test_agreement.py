"""Whether workers of a queue agree, by their reports."""

from __future__ import annotations

from typing import Any

import pytest

from sentq.wire.agreement import (
    Disagreement,
    Topic,
    describe_labels,
    differences,
    differing_topics,
    disagreements,
)
from sentq.wire.reports import ReportedModel, WorkerReport

MAIN = ReportedModel(name="main", model="owner/name")


def _report(worker: str, *, names: tuple[str, ...] = ("bad", "good"), **about: Any) -> WorkerReport:
    labels, digest = describe_labels(names)
    fields: dict[str, Any] = {
        "queues": ("sentq",),
        "model": "owner/name",
        "revision": "a" * 40,
        "version": "0.1.0",
        "labels": labels,
        "labels_digest": digest,
    }
    return WorkerReport(worker=worker, at_s=1, started_at_s=1, **(fields | about))


def test_workers_of_the_same_model_agree() -> None:
    reports = [
        _report("a"),
        _report("b", names=("good", "bad"), version="0.2.7", backend="hub", revision=None),
        _report("c", model=None, revision=None, names=(), version=None),
    ]
    assert disagreements(reports) == ()


@pytest.mark.parametrize(
    ("other", "topic", "values"),
    [
        ({"model": "other", "revision": None}, Topic.MODEL, ("owner/name", "other")),
        (
            {"revision": "b" * 40},
            Topic.REVISION,
            ("owner/name at aaaaaaaaaaaa", "owner/name at bbbbbbbbbbbb"),
        ),
        ({"names": ("good", "poor")}, Topic.LABELS, ("bad, good", "good, poor")),
        (
            {"models": (MAIN, ReportedModel(name="large", model="l", revision="c" * 40))},
            Topic.MODELS,
            ("none", "large: l at cccccccccccc"),
        ),
        ({"version": "1.0.0"}, Topic.VERSION, ("0", "1")),
    ],
)
def test_each_difference_is_found(
    other: dict[str, Any], topic: Topic, values: tuple[str, ...]
) -> None:
    reports = [_report("a"), _report("b", **other), _report("c", queues=("another",), **other)]
    (found,) = disagreements(reports)
    assert found == Disagreement(
        topic=topic, queues=("sentq",), values={values[0]: ("a",), values[1]: ("b",)}
    )
    assert differences(reports[0], reports[1]) == (topic,)
    assert differences(reports[0], reports[2]) == ()


def test_the_same_files_in_folders_of_two_names_are_one_model() -> None:
    digest = "sha256:" + "c" * 64
    reports = [_report("a", model="here", revision=digest), _report("b", revision=digest)]
    assert disagreements(reports) == ()


def test_the_minority_differs_and_without_a_majority_all_do() -> None:
    reports = [_report("a"), _report("b"), _report("c", model="other", revision=None)]
    found = disagreements(reports)
    assert [differing_topics(name, found) for name in "abc"] == [(), (), (Topic.MODEL,)]
    found = disagreements(reports[1:])
    assert [differing_topics(name, found) for name in "bc"] == [(Topic.MODEL,), (Topic.MODEL,)]


def test_a_queue_of_other_workers_is_a_disagreement_of_its_own() -> None:
    both = ("sentq", "sentq.bulk")
    reports = [_report("a", queues=both), _report("b", queues=both, model="other", revision=None)]
    (found,) = disagreements(reports)
    assert found.queues == both
    reports.append(_report("c", queues=("sentq.bulk",)))
    assert [found.queues for found in disagreements(reports)] == [("sentq",), ("sentq.bulk",)]


def test_a_report_has_few_labels_and_a_digest_of_all() -> None:
    many = [f"label {number}" for number in range(1000)]
    shown, digest = describe_labels([*many, "x" * 1000])
    assert len(shown) == 16
    assert all(len(name) <= 40 for name in describe_labels(["x" * 1000])[0])
    assert digest != describe_labels(many)[1]
    assert describe_labels(many) == describe_labels(many[::-1])
    one, other = (_report("a", names=tuple(many)), _report("b", names=(*many, "x")))
    assert differences(one, other) == (Topic.LABELS,)
