"""The fields of outcomes that are stored."""

from __future__ import annotations

import json

import pytest

from sentq import JobOutcome, TextError
from sentq.contract import ErrorCode, Prediction, TextPart
from sentq_worker.engine.base import EngineInfo
from sentq_worker.engine.provider import ScoredJob
from sentq_worker.jobs.outcomes import ScoredBatch
from tests.support.models.providers import prediction

INFO = EngineInfo("model", None, "test", "none", ("negative", "positive"))
NAMED = prediction().model_copy(
    update={"language": "de", "language_confidence": 0.9, "language_supported": False}
)
PART = TextPart(
    start=0, end=4, label="positive", score=1.0, scores={"positive": 1.0}, sentiment=None
)
DETAILED = prediction().model_copy(update={"parts": (PART, PART), "mixed": False})
BASE = {"label", "score", "scores", "sentiment", "tokens", "windows"}

ROUTED = NAMED.model_copy(update={"model": "other"})


@pytest.mark.parametrize(
    ("outcome", "fields"),
    [
        (prediction(), BASE),
        (NAMED, Prediction.model_fields.keys() - {"parts", "mixed", "model", "revision"}),
        (ROUTED, Prediction.model_fields.keys() - {"parts", "mixed"}),
        (DETAILED, {*BASE, "parts", "mixed"}),
        (TextError(code=ErrorCode.EMPTY_TEXT, message="empty"), {"code", "message"}),
    ],
    ids=["no language", "a language", "another model", "parts", "an error"],
)
def test_language_parts_and_model_are_stored_if_there_are_any(
    outcome: Prediction | TextError, fields: set[str]
) -> None:
    (stored,) = ScoredBatch([ScoredJob([outcome], INFO)], 0, 0).outcomes([(None, 1)])
    assert isinstance(stored, dict)
    (row,) = stored["outcomes"]
    assert row.keys() == fields
    assert JobOutcome.model_validate_json(json.dumps(stored)).outcomes == [outcome]
