"""Batches: within the budget, of similar length, and none takes its neighbours down."""

from __future__ import annotations

import logging
import random

import pytest
from tests.engines import ScriptedEngine, window

from sentq.contract import ErrorCode, TextError
from sentq_worker.batcher import predict_all
from sentq_worker.engine.base import Window


def _windows(count: int) -> list[Window]:
    rng = random.Random(7)
    return [Window([i] * rng.randint(1, 60), own_tokens=1) for i in range(count)]


def test_rows_come_back_in_the_order_of_the_windows() -> None:
    rows = predict_all(ScriptedEngine(), _windows(200), batch_tokens=128)
    assert rows == [[i / 1000, 0.5] for i in range(200)]


def test_no_batch_exceeds_the_budget_with_its_padding() -> None:
    engine = ScriptedEngine()
    predict_all(engine, _windows(200), batch_tokens=128)
    for batch in engine.batches:
        assert len(batch) * max(len(each.token_ids) for each in batch) <= 128
    assert len(engine.batches) < 100


def test_a_window_larger_than_the_budget_is_a_batch_of_its_own() -> None:
    engine = ScriptedEngine()
    rows = predict_all(engine, [window(1), Window([2] * 500, 500), window(3)], batch_tokens=64)
    assert len(rows) == 3
    assert [len(batch) for batch in engine.batches] == [2, 1]


@pytest.mark.parametrize("culprits", [{0}, {63}, {17, 18}, set(range(0, 64, 5))])
def test_a_failing_window_does_not_fail_its_neighbours(culprits: set[int]) -> None:
    engine = ScriptedEngine(fails=lambda w: w.token_ids[0] in culprits)
    rows = predict_all(engine, [window(i) for i in range(64)], batch_tokens=1024)
    for index, row in enumerate(rows):
        if index in culprits:
            assert isinstance(row, TextError)
            assert row.code is ErrorCode.INFERENCE_FAILED
        else:
            assert row == [index / 1000, 0.5]


def test_scores_that_are_no_numbers_are_an_error_and_never_a_number() -> None:
    engine = ScriptedEngine(row=lambda w: [float("nan") if w.token_ids[0] == 2 else 0.5, 0.5])
    rows = predict_all(engine, [window(1), window(2), window(3)], batch_tokens=64)
    assert isinstance(rows[1], TextError)
    assert rows[1].code is ErrorCode.NONFINITE
    assert rows[0] == rows[2] == [0.5, 0.5]


def test_an_engine_that_loses_a_row_is_not_believed() -> None:
    engine = ScriptedEngine()
    complete = engine.predict
    engine.predict = lambda batch: complete(batch)[:-1]  # type: ignore[method-assign]
    rows = predict_all(engine, [window(1), window(2)], batch_tokens=64)
    assert all(isinstance(row, TextError) for row in rows)


def test_what_a_model_says_when_it_fails_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    engine = ScriptedEngine(fails=lambda _: True)
    with caplog.at_level(logging.DEBUG):
        predict_all(engine, [window(1)], batch_tokens=64)
    assert "RuntimeError" in caplog.text
    assert "CANARY" not in caplog.text
