"""Readers of messages, tested with generated messages, texts and bodies."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentq import Settings
from sentq.connection.app import make_app
from sentq.contract import ErrorCode, Limits, check_job, check_text
from sentq.errors import InvalidInput
from sentq.sending.template import MessageTemplate
from sentq.wire.ids import new_job_ids
from sentq_worker.broker.decompression import refusal_to_decompress
from sentq_worker.broker.message import (
    is_job_id,
    is_plain,
    plain_arguments,
    plain_body,
    read_envelope,
)
from tests.corpus.generated import INPUTS, json_values, messages, repeatable, texts
from tests.corpus.messages import message

SOME = max(100, INPUTS // 10)
LIMITS = Limits(chars_per_text=50, bytes_per_message=1024)

TEMPLATE = MessageTemplate(make_app(Settings.load(broker_url="redis://localhost")), "sentq")


@repeatable(SOME)
@given(messages)
def test_a_parsed_message_has_the_expected_types(raw: bytes) -> None:
    envelope = read_envelope(raw)
    if envelope is None:
        return
    assert isinstance(envelope["body"], str)
    assert isinstance(envelope["properties"]["delivery_info"], dict)
    assert is_job_id(envelope["headers"].get("id", "none"))
    if is_plain(envelope["headers"]) and (body := plain_body(envelope)) is not None:
        plain_arguments(body)
    refusal_to_decompress(envelope, 1024)


@repeatable(SOME)
@given(st.lists(st.lists(texts) | texts), st.dictionaries(texts, texts))
def test_plain_arguments_equal_those_of_a_json_parser(
    args: list[Any], kwargs: dict[str, str]
) -> None:
    body = json.dumps([args, kwargs, {}])
    arguments = plain_arguments(body.encode())
    assert arguments is None or [*arguments] == json.loads(body)[:2]


@repeatable(SOME)
@given(st.lists(texts, min_size=1, max_size=5))
def test_texts_accepted_by_the_client_reach_the_worker_unchanged(job_texts: list[str]) -> None:
    try:
        check_job(job_texts, Limits())
    except InvalidInput:
        return
    (job_id,) = new_job_ids(1)
    envelope = read_envelope(TEMPLATE.fill(job_id, job_texts))
    assert envelope is not None
    assert envelope["headers"]["id"] == job_id
    assert is_plain(envelope["headers"])
    body = plain_body(envelope)
    assert body is not None
    if b"__type__" in body:  # Kombu's mark of other types, which Celery decodes.
        assert plain_arguments(body) is None
    else:
        assert plain_arguments(body) == ([job_texts], {})


@pytest.mark.slow
@repeatable(SOME)
@given(texts | json_values)
def test_a_text_is_valid_if_it_can_be_encoded_and_is_short_enough(text: Any) -> None:
    problem = check_text(text, LIMITS)
    code = problem.code if problem else None
    if not isinstance(text, str):
        assert code == ErrorCode.NOT_A_STRING
    elif len(text) > LIMITS.chars_per_text:
        assert code == ErrorCode.TEXT_TOO_LONG
    elif any("\ud800" <= character <= "\udfff" for character in text):
        assert code == ErrorCode.LONE_SURROGATE
    else:
        assert code is None


@repeatable(SOME)
@given(st.integers(0, 5_000), st.integers(1, 5_000), st.binary(max_size=50))
def test_a_body_is_inflated_if_it_is_within_the_limit(
    size_bytes: int, limit_bytes: int, begins: bytes
) -> None:
    data = (begins + bytes(size_bytes))[:size_bytes]
    packed = message(zlib.compress(data), headers={"compression": "zlib"})
    assert (refusal_to_decompress(packed, limit_bytes) is None) == (len(data) <= limit_bytes)
