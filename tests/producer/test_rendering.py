"""Outcomes as lines of a table, and as JSON lines."""

from __future__ import annotations

import io
import json

from sentq.contract import Prediction
from sentq.rendering import JsonLines, Table
from tests.support.models.providers import prediction

GERMAN = prediction().model_copy(
    update={"language": "de", "language_confidence": 0.97, "language_supported": False}
)


def _row(outcome: Prediction) -> str:
    stream = io.StringIO()
    Table(stream).show(1, "Das war schade", outcome)
    return stream.getvalue().splitlines()[-1]


def test_the_language_precedes_a_text_that_the_model_does_not_read() -> None:
    assert _row(GERMAN).rstrip().endswith("[de] Das war schade")
    for unmarked in (prediction(), GERMAN.model_copy(update={"language_supported": True})):
        assert "[" not in _row(unmarked)


def test_json_lines_have_the_fields_of_the_language() -> None:
    stream = io.StringIO()
    JsonLines(stream, with_text=False).show(1, "Das war schade", GERMAN)
    row = json.loads(stream.getvalue())
    assert (row["language"], row["language_confidence"], row["language_supported"]) == (
        "de",
        0.97,
        False,
    )
