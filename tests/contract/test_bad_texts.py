"""The errors of client and worker for each text of the corpus, without sending it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from sentq.contract import Limits, check_job, check_text
from sentq.errors import InvalidInput, NotAString
from tests.corpus.canary import traces
from tests.corpus.texts import TEXTS, TextCase

LIMITS = Limits()

#: Values that only Python code can pass as a text.
NOT_JSON = (b"bytes", bytearray(b"bytes"), object(), {"a", "set"}, ("a", "tuple"), 1j, Ellipsis)


@pytest.mark.parametrize("case", TEXTS, ids=[case.name for case in TEXTS])
def test_the_client_rejects_the_same_texts_as_the_worker(case: TextCase) -> None:
    refused = pytest.raises(case.refused, match="text 1: ") if case.refused else _no_error()
    with refused as raised:
        check_job(["a good text", case.text], LIMITS)
    assert traces(str(raised and raised.value)) == []


@pytest.mark.parametrize("case", TEXTS, ids=[case.name for case in TEXTS])
def test_the_error_of_a_text_names_the_problem_without_quoting_it(case: TextCase) -> None:
    problem = check_text(case.text, LIMITS)
    assert (problem is None) == (case.refused is None)
    if problem:
        assert problem.code == case.code
        assert traces(repr(problem)) == []


@pytest.mark.parametrize("text", NOT_JSON, ids=[type(text).__name__ for text in NOT_JSON])
def test_a_value_that_is_not_json_is_rejected_as_not_a_string(text: Any) -> None:
    with pytest.raises(NotAString, match=f"text 0: .*{type(text).__name__}"):
        check_job([text], LIMITS)


def test_case_names_are_unique() -> None:
    names = [case.name for case in TEXTS]
    assert len(names) == len(set(names))
    assert all(issubclass(case.refused, InvalidInput) for case in TEXTS if case.refused)


def _no_error() -> contextlib.nullcontext[None]:
    return contextlib.nullcontext()
