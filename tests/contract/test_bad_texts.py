"""What both sides say of each text of the corpus, without anything being sent."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from sentq.contract import Limits, check_job, check_text
from sentq.errors import InvalidInput, NotAString
from tests.corpus.canary import traces
from tests.corpus.texts import TEXTS, TextCase

LIMITS = Limits()

#: Only Python can put these in the place of a text.
NO_JSON = (b"bytes", bytearray(b"bytes"), object(), {"a", "set"}, ("a", "tuple"), 1j, Ellipsis)


@pytest.mark.parametrize("case", TEXTS, ids=[case.name for case in TEXTS])
def test_the_client_refuses_what_the_worker_would(case: TextCase) -> None:
    refused = pytest.raises(case.refused, match="text 1: ") if case.refused else _nothing()
    with refused as raised:
        check_job(["a good text", case.text], LIMITS)
    assert traces(str(raised and raised.value)) == []


@pytest.mark.parametrize("case", TEXTS, ids=[case.name for case in TEXTS])
def test_the_worker_says_what_is_wrong_and_never_what_it_says(case: TextCase) -> None:
    problem = check_text(case.text, LIMITS)
    assert (problem is None) == (case.refused is None)
    if problem:
        assert problem.code == case.code
        assert traces(repr(problem)) == []


@pytest.mark.parametrize("text", NO_JSON, ids=[type(text).__name__ for text in NO_JSON])
def test_what_is_no_json_is_refused_as_no_string(text: Any) -> None:
    with pytest.raises(NotAString, match=f"text 0: .*{type(text).__name__}"):
        check_job([text], LIMITS)


def test_no_name_stands_for_two_cases() -> None:
    names = [case.name for case in TEXTS]
    assert len(names) == len(set(names))
    assert all(issubclass(case.refused, InvalidInput) for case in TEXTS if case.refused)


def _nothing() -> contextlib.nullcontext[None]:
    return contextlib.nullcontext()
