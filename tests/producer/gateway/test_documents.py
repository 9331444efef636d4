"""The document of OpenAPI, and the page that lists the problems of the gateway."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sentq.contract import JobOutcome, JobStatus
from sentq.gateway import errors
from sentq.gateway.documents import JobDocument, ProblemDocument
from sentq.gateway.errors import GatewayError
from sentq.testing.scores import score_by_rule
from tests.support.gateway import document

pytestmark = pytest.mark.unit

#: What a worker has stored, without the outcomes.
OUTCOME = {
    "model": "owner/name",
    "revision": None,
    "backend": "local:cpu",
    "dtype": "float32",
    "attempts": 1,
    "queued_ms": None,
    "inference_ms": 1.0,
}

PAGE = document.FILE.with_name("gateway.md")


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document.document()


def test_the_committed_document_is_that_of_the_gateway() -> None:
    assert document.FILE.read_text(encoding="utf-8") == document.render(), "run `make docs`"


def test_every_reference_leads_to_a_schema_and_every_schema_is_used(
    described: dict[str, Any],
) -> None:
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    assert used == described["components"]["schemas"].keys()


def test_every_operation_describes_its_problems_and_needs_a_key(described: dict[str, Any]) -> None:
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            statuses = {*operation["responses"]}
            assert operation["summary"], (method, path)
            if path in ("/livez", "/readyz"):
                continue
            assert {"401", "403", "421", "429", "500", "503"} <= statuses, (method, path)
            assert operation["security"] == [{"key": []}], (method, path)
            for status in statuses - {"200", "202"}:
                assert [*operation["responses"][status]["content"]] == ["application/problem+json"]


def test_an_outcome_of_a_job_has_the_members_that_a_score_has() -> None:
    unset = {"language", "language_confidence", "language_supported"}
    fields = score_by_rule("good").model_dump(exclude=unset)
    outcome = JobOutcome.model_validate({**OUTCOME, "outcomes": [fields]})
    problem = ProblemDocument(type="urn:x", title="x", status=500, detail="x")
    found = json.loads(JobDocument(id="x", status=JobStatus.DONE, outcome=outcome).to_json())
    assert found["outcome"] == json.loads(outcome.model_dump_json())
    assert unset <= found["outcome"]["outcomes"][0].keys()
    failed = JobDocument(id="x", status=JobStatus.FAILED, problem=problem).to_json()
    assert set(json.loads(failed)["problem"]) == {"type", "title", "status", "detail"}


def test_no_two_operations_have_one_name(described: dict[str, Any]) -> None:
    names = [each["operationId"] for path in described["paths"].values() for each in path.values()]
    assert len(set(names)) == len(names) >= 12
    assert "score" in names


def test_the_page_lists_the_type_of_each_class_of_problems() -> None:
    classes = [getattr(errors, name) for name in errors.__all__]
    kinds = [each for each in classes if each is not GatewayError]
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) \| `(\w+)` \| (.+?) \|", PAGE.read_text(), re.M)
    expected = []
    for kind in kinds:
        problem = kind(1, "x").problem if kind is errors.InvalidLine else kind("x").problem
        name = problem.type.removeprefix("urn:sentq:problem:")
        expected.append((name, str(int(problem.status)), kind.__name__, problem.title))
    assert sorted(rows) == sorted(expected)
