"""The training set of an epoch: sampled rows, batches, and windows of long texts."""

from __future__ import annotations

import random
from array import array

from sentq_worker.training.data.batches import batches_per_epoch, epoch_batches, rows_per_epoch
from sentq_worker.training.data.corpus import EncodedRows
from sentq_worker.training.data.training_set import TrainingSet
from sentq_worker.training.data.windows import epoch_window, special_token_counts


def test_an_epoch_samples_by_weight_and_depends_on_the_seed() -> None:
    lengths = [number % 13 + 1 for number in range(400)]
    sizes, weights = (100, 300), (2.5, 0.1)

    def drawn(*, seed: int = 1, epoch: int = 0) -> list[list[int]]:
        return epoch_batches(lengths, sizes, weights, batch_size=16, seed=seed, epoch=epoch)

    rows = [row for batch in drawn() for row in batch]
    assert len(rows) == rows_per_epoch(100, 2.5) + rows_per_epoch(300, 0.1) == 280
    assert sum(row < 100 for row in rows) == 250
    assert {rows.count(row) for row in range(100)} == {2, 3}
    assert max(rows.count(row) for row in range(100, 400)) == 1
    assert len(drawn()) == batches_per_epoch(sizes, weights, 16)
    assert drawn() == drawn()
    assert drawn() != drawn(epoch=1)
    assert drawn() != drawn(seed=2)


def test_batches_hold_rows_of_similar_length() -> None:
    lengths = [2 + row * row % 127 for row in range(3000)]
    batches = epoch_batches(lengths, (3000,), (1.0,), batch_size=32, seed=1, epoch=0)
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    assert padded < 1.05 * sum(lengths)


def test_a_window_keeps_the_special_tokens_and_depends_on_its_seed() -> None:
    text = array("i", [101, *range(1000, 1100), 102])
    windows = [
        epoch_window(text, max_tokens=12, special_tokens=(1, 1), seed=f"1:{epoch}:7")
        for epoch in range(300)
    ]
    starts = [window[1] for window in windows]
    for window, start in zip(windows, starts, strict=True):
        assert list(window) == [101, *range(start, start + 10), 102]
    assert 0.35 < starts.count(1000) / 300 < 0.65
    assert 0.15 < starts.count(1090) / 300 < 0.4
    assert len(set(starts)) > 20
    assert epoch_window(text, max_tokens=12, special_tokens=(1, 1), seed="1:5:7") == windows[5]
    short = array("i", [101, 5, 102])
    assert epoch_window(short, max_tokens=12, special_tokens=(1, 1), seed="1:0:0") is short


def test_special_tokens_may_be_on_either_side_or_absent() -> None:
    assert special_token_counts([7], [101, 7, 102]) == (1, 1)
    assert special_token_counts([7], [1, 7]) == (1, 0)
    assert special_token_counts([7, 8], [7, 8]) == (0, 0)
    assert special_token_counts([7], [7, 4, 3]) == (0, 2)


def test_training_examples_are_never_longer_than_a_window() -> None:
    rng = random.Random(1)
    rows = [array("i", [101, *range(rng.randint(1, 90)), 102]) for _ in range(200)]
    source = EncodedRows("rows", rows, [number % 3 for number in range(200)], special_tokens=(1, 1))
    training_set = TrainingSet([source], [1.0], batch_size=16, max_tokens=20, seed=1)
    batches = training_set.epoch(0)
    assert len(batches) == training_set.batches_per_epoch
    tokens, targets = zip(*(training_set.rows(batch, 0) for batch in batches), strict=True)
    assert sorted(row for batch in batches for row in batch) == list(range(200))
    assert max(len(row) for batch in tokens for row in batch) == 20
    assert sum(map(len, targets)) == 200
