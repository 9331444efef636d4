"""The stored form of results, which clients of other versions and stock Celery clients read."""

from __future__ import annotations

import json

import pytest

from sentq import errors
from sentq_worker.broker.results import failed, started, succeeded

_JOB = "0192f0c1-7d3c-7aaa-8bbb-0123456789ab"


@pytest.mark.parametrize(
    ("error", "kind", "module"),
    [
        (errors.ScoringFailed.from_error(MemoryError("a text")), "ScoringFailed", "sentq.errors"),
        (errors.WorkerLost("3 workers were lost"), "WorkerLost", "sentq.errors"),
        (errors.InvalidInput("texts must be a list"), "InvalidInput", "sentq.errors"),
        (errors.LinkRefused("a task that follows"), "LinkRefused", "sentq.errors"),
        (errors.EmptyJob("a job needs at least one text"), "EmptyJob", "sentq.errors"),
        (errors.TooManyTexts("257 texts"), "TooManyTexts", "sentq.errors"),
        (errors.TooManyTokens("500,000 tokens"), "TooManyTokens", "sentq.errors"),
        (errors.EtaTooFar("3,000,000 s away"), "EtaTooFar", "sentq.errors"),
        (errors.ScheduleFull("2 jobs are scheduled"), "ScheduleFull", "sentq.errors"),
        (errors.MessageTooLarge("2,000,000 bytes"), "MessageTooLarge", "sentq.errors"),
    ],
)
def test_a_failed_job_stores_the_class_and_module_of_its_error(
    error: Exception, kind: str, module: str
) -> None:
    document = json.loads(failed(_JOB, error))
    assert list(document) == [
        *("status", "result", "traceback", "children", "date_done", "task_id"),
    ]
    assert document["status"] == "FAILURE"
    assert document["result"] == {
        "exc_type": kind,
        "exc_message": [str(error)],
        "exc_module": module,
    }
    assert (document["traceback"], document["children"]) == (None, [])
    assert document["task_id"] == _JOB


def test_a_running_job_and_a_scored_job_are_stored_as_celery_stores_them() -> None:
    running = json.loads(started(_JOB, "celery@host"))
    assert (running["status"], running["result"]) == ("STARTED", {"hostname": "celery@host"})
    assert running["date_done"] is None
    outcome = {"outcomes": [], "model": "m"}
    scored = json.loads(succeeded(_JOB, outcome, at="2026-11-27T00:00:00+00:00"))
    assert (scored["status"], scored["result"]) == ("SUCCESS", outcome)
    assert scored["date_done"] == "2026-11-27T00:00:00+00:00"


def test_every_document_begins_with_its_status_where_scripts_read_it() -> None:
    for document in (started(_JOB, "h"), failed(_JOB, ValueError()), succeeded(_JOB, {})):
        assert document.startswith(b'{"status":"')
