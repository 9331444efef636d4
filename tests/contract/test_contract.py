"""The contract: the limits of a job, the fields of its outcome, and its errors."""

from __future__ import annotations

import json
import time
from uuid import UUID

import pytest
from pydantic import ValidationError

from sentq import errors
from sentq.contract import (
    ErrorCode,
    JobOutcome,
    JobRequest,
    Limits,
    Prediction,
    TextError,
    check_job,
    check_sendable,
    check_text,
    message_bytes,
    redacted,
)
from sentq.wire.ids import new_job_ids, sent_at_ms

LIMITS = Limits()


@pytest.mark.parametrize(
    "text", ["", " ", "plain", "naïve 👩‍👩‍👧‍👦 العربية", "x" * 100_000, "\0\x1b["]
)
def test_any_valid_string_within_the_limit_is_accepted(text: str) -> None:
    assert check_text(text, LIMITS) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, ErrorCode.NOT_A_STRING),
        (7, ErrorCode.NOT_A_STRING),
        (b"bytes", ErrorCode.NOT_A_STRING),
        (["nested"], ErrorCode.NOT_A_STRING),
        ({"text": "x"}, ErrorCode.NOT_A_STRING),
        ("half a pair \ud83d", ErrorCode.LONE_SURROGATE),
        ("x" * 100_001, ErrorCode.TEXT_TOO_LONG),
    ],
)
def test_an_invalid_text_has_an_error_code(text: object, code: ErrorCode) -> None:
    problem = check_text(text, LIMITS)
    assert problem is not None
    assert problem.code is code


@pytest.mark.parametrize(
    ("texts", "error", "says"),
    [
        ([], errors.EmptyJob, "at least one"),
        (["x"] * 257, errors.TooManyTexts, "limit is 256"),
        (["good", 5], errors.NotAString, "text 1"),
        (["\udc00"], errors.LoneSurrogate, "character 0"),
        (["ok", "x" * 100_001], errors.TextTooLong, "limit is 100,000"),
        (["é" * 50_000] * 4, errors.MessageTooLarge, "limit is 1,048,576"),
    ],
)
def test_an_invalid_job_is_rejected_with_the_limit_it_exceeds(
    texts: list[object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        check_job(texts, LIMITS)


def test_limits_can_be_lowered_but_not_raised() -> None:
    strict = Limits(texts_per_job=2, chars_per_text=10, bytes_per_message=1024)
    with pytest.raises(errors.TooManyTexts, match="limit is 2"):
        check_job(["a", "b", "c"], strict)
    with pytest.raises(errors.TextTooLong, match="limit is 10"):
        check_job(["x" * 11], strict)
    with pytest.raises(ValidationError):
        Limits(texts_per_job=257)
    with pytest.raises(ValidationError):
        Limits(chars_per_text=100_001)
    with pytest.raises(ValidationError):
        Limits(bytes_per_message=1024 * 1024 + 1)


def test_a_text_too_large_for_a_message_is_an_error_outcome() -> None:
    problem = check_sendable("\N{PILE OF POO}" * 100_000, LIMITS)
    assert problem is not None
    assert problem.code is ErrorCode.MESSAGE_TOO_LARGE


def test_a_message_is_never_larger_than_its_estimate() -> None:
    for texts in (["plain"], ['é\n\t\\"👍' * 500], ["a"] * 256):
        body = json.dumps(
            [[texts], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
        )
        assert len(body) <= message_bytes(texts)


def test_a_request_accepts_the_arguments_of_celery_clients() -> None:
    assert JobRequest.from_task([["a", "b"]], {}).texts == ["a", "b"]
    assert JobRequest.from_task([], {"texts": ["a"]}).texts == ["a"]
    assert JobRequest.from_task(["one text"], {}).texts == ["one text"]
    assert JobRequest.from_task([["a", 5, None]], {}).texts == ["a", 5, None]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([], {}),
        ([["a"], ["b"]], {}),
        ([["a"]], {"texts": ["b"]}),
        ([7], {}),
        ([{"text": "secret"}], {}),
        ([["a"]], {"option_of_tomorrow": True}),
    ],
)
def test_a_request_that_is_not_a_list_of_texts_is_rejected_without_quoting_it(
    args: list[object], kwargs: dict[str, object]
) -> None:
    with pytest.raises(errors.InvalidInput) as refused:
        JobRequest.from_task(args, kwargs)
    assert "secret" not in str(refused.value)


def test_an_outcome_round_trips_through_json() -> None:
    outcome = JobOutcome(
        outcomes=[
            Prediction(
                label="positive",
                score=0.9,
                scores={"negative": 0.1, "positive": 0.9},
                sentiment=0.8,
                tokens=3,
                windows=1,
            ),
            TextError(code=ErrorCode.EMPTY_TEXT, message="nothing"),
        ],
        model="m",
        revision=None,
        backend="local:cpu",
        dtype="float32",
        attempts=1,
        queued_ms=None,
        inference_ms=1.5,
    )
    assert JobOutcome.model_validate(json.loads(outcome.model_dump_json())) == outcome


def test_a_reader_ignores_unknown_fields_of_newer_workers() -> None:
    row = {"code": "empty_text", "message": "nothing", "hint": "new"}
    assert TextError.model_validate(row).code is ErrorCode.EMPTY_TEXT


def test_an_id_contains_the_time_of_submission() -> None:
    before_ms = time.time_ns() // 1_000_000
    job_id = new_job_ids(1)[0]
    sent_ms = sent_at_ms(job_id)
    assert sent_ms is not None
    assert before_ms <= sent_ms <= time.time_ns() // 1_000_000
    assert UUID(job_id).version == 7
    assert UUID(job_id).variant == "specified in RFC 4122"


def test_ids_are_unique_and_foreign_ids_contain_no_time() -> None:
    assert len({new_job_ids(1)[0] for _ in range(10_000)}) == 10_000
    assert sent_at_ms("6e5b8d0a-6d0f-4c3a-9b57-0f3f5ac1e9d1") is None
    assert sent_at_ms("not an id") is None


def test_the_representation_of_arguments_is_a_count_of_texts() -> None:
    assert (redacted(1), redacted(12)) == ("<1 text>", "<12 texts>")


def test_every_error_is_public_and_in_the_drawn_tree() -> None:
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.SentqError)
    }
    assert classes == set(errors.__all__)
    drawing = errors.__doc__ or ""
    assert all(name in drawing for name in classes)
