"""Batches: within the token budget, of similar lengths, and with isolated failures."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

import pytest

from sentq.contract import ErrorCode, TextError
from sentq_worker.engine.base import DeviceLost, OutOfMemory, Window
from sentq_worker.scoring.batcher import Batcher, Row
from tests.support.models.engines import ScriptedEngine, window
from tests.support.workers.device_lost import LostEngine


def _windows(count: int) -> list[Window]:
    rng = random.Random(7)
    return [Window([i] * rng.randint(1, 60), own_tokens=1) for i in range(count)]


def predict_all(engine: ScriptedEngine, windows: list[Window], *, batch_tokens: int) -> list[Row]:
    return Batcher(engine, batch_tokens=batch_tokens).predict(windows)


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


@pytest.mark.parametrize("failing", [{0}, {63}, {17, 18}, set(range(0, 64, 5))])
def test_a_failing_window_does_not_fail_its_neighbours(failing: set[int]) -> None:
    engine = ScriptedEngine(fails=lambda w: w.token_ids[0] in failing)
    rows = predict_all(engine, [window(i) for i in range(64)], batch_tokens=1024)
    for index, row in enumerate(rows):
        if index in failing:
            assert isinstance(row, TextError)
            assert row.code is ErrorCode.INFERENCE_FAILED
        else:
            assert row == [index / 1000, 0.5]


def test_an_engine_that_does_not_pad_gets_batches_as_full_as_the_budget_allows() -> None:
    engine = ScriptedEngine(pads=False)
    windows = _windows(200)
    predict_all(engine, windows, batch_tokens=128)
    sizes = [sum(len(each.token_ids) for each in batch) for batch in engine.batches]
    assert max(sizes) <= 128
    assert len(sizes) <= 1.5 * sum(sizes) / 128


def test_scores_that_are_not_numbers_are_computed_again_in_full_precision() -> None:
    engine = ScriptedEngine(
        row=lambda w: [float("nan") if w.token_ids[0] == 2 else 0.5, 0.5],
        precise_row=lambda _: [0.25, 0.75],
    )
    rows = predict_all(engine, [window(1), window(2), window(3)], batch_tokens=64)
    assert rows == [[0.5, 0.5], [0.25, 0.75], [0.5, 0.5]]


@pytest.mark.parametrize("still", [float("nan"), float("inf"), None])
def test_scores_that_stay_nan_are_an_error(still: float | None) -> None:
    def precise_row(_: Window) -> list[float]:
        if still is None:
            raise RuntimeError("CANARY")
        return [still, 0.5]

    engine = ScriptedEngine(
        row=lambda w: [float("nan") if w.token_ids[0] == 2 else 0.5, 0.5], precise_row=precise_row
    )
    rows = predict_all(engine, [window(1), window(2), window(3)], batch_tokens=64)
    assert isinstance(rows[1], TextError)
    assert rows[1].code is ErrorCode.NONFINITE
    assert rows[0] == rows[2] == [0.5, 0.5]


class _SmallEngine(ScriptedEngine):
    """Runs out of memory above 40 tokens."""

    def predict(self, batch: Sequence[Window]) -> list[list[float]]:
        if sum(len(each.token_ids) for each in batch) > 40:
            self.batches.append(list(batch))
            raise OutOfMemory("too much")
        return super().predict(batch)


@pytest.mark.parametrize("pads", [True, False])
def test_a_batch_too_large_for_memory_is_halved_and_its_size_is_remembered(*, pads: bool) -> None:
    engine = _SmallEngine(pads=pads)
    batcher = Batcher(engine, batch_tokens=160)
    windows = [window(i) for i in range(320)]
    expected = [[i / 1000, 0.5] for i in range(320)]
    assert batcher.predict(windows) == expected
    assert batcher.batch_tokens == 40
    engine.batches.clear()
    assert batcher.predict(windows) == expected
    assert [len(batch) for batch in engine.batches] == [40] * 8


def test_a_window_too_large_for_memory_is_an_error_and_keeps_the_budget() -> None:
    engine = _SmallEngine()
    batcher = Batcher(engine, batch_tokens=64)
    too_large, fits = batcher.predict([Window([7] * 60, 60), window(3)])
    assert isinstance(too_large, TextError)
    assert too_large.code is ErrorCode.RESOURCE_EXHAUSTED
    assert fits == [0.003, 0.5]
    assert batcher.batch_tokens == 64


def test_a_batch_whose_device_is_lost_is_not_halved() -> None:
    engine = LostEngine()
    with pytest.raises(DeviceLost):
        predict_all(engine, [window(i) for i in range(64)], batch_tokens=1024)
    assert len(engine.batches) == 1


def test_a_device_lost_during_full_precision_scoring_is_not_a_window_error() -> None:
    def lose(_: Window) -> list[float]:
        raise DeviceLost("gone")

    engine = ScriptedEngine(row=lambda _: [float("nan"), 0.5], precise_row=lose)
    with pytest.raises(DeviceLost):
        predict_all(engine, [window(1)], batch_tokens=64)


def test_an_engine_that_returns_too_few_rows_is_an_error() -> None:
    engine = ScriptedEngine()
    complete = engine.predict
    engine.predict = lambda batch: complete(batch)[:-1]  # type: ignore[method-assign]
    rows = predict_all(engine, [window(1), window(2)], batch_tokens=64)
    assert all(isinstance(row, TextError) for row in rows)


def test_the_message_of_a_failing_model_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    engine = ScriptedEngine(fails=lambda _: True)
    with caplog.at_level(logging.DEBUG):
        predict_all(engine, [window(1)], batch_tokens=64)
    assert "RuntimeError" in caplog.text
    assert "CANARY" not in caplog.text
