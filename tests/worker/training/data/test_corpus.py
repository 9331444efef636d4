"""Label sets, held-out rows and validation rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sentq_worker.training.data.corpus import hold_out, label_order, read_corpus
from sentq_worker.training.data.rows import Rows, Source
from sentq_worker.training.errors import TrainingDataError, TrainingOptionsError
from tests.support.labelled_rows import separable_rows, write_rows
from tests.support.models.tiny import LABELS

if TYPE_CHECKING:
    from pathlib import Path


def test_labels_are_ordered_by_sentiment_or_name() -> None:
    assert label_order({"positive", "neutral", "negative"}) == LABELS
    assert label_order({"positive", "negative"}) == ("negative", "positive")
    assert label_order({"spam", "ham"}) == ("ham", "spam")
    with pytest.raises(TrainingDataError, match="two labels"):
        label_order({"positive"})


def test_duplicates_of_a_text_are_held_out_together() -> None:
    texts = [f"text {number}" for number in range(400)]
    rows = Rows("rows", [*texts, *(text.upper() for text in texts)], ["a"] * 800, "digest")
    (kept,), (held,) = hold_out([rows], seed=1, names={"rows"})
    assert len(kept) + len(held) == 800
    assert 10 < len(held) < 80
    assert not {text.lower() for text in held.texts} & {text.lower() for text in kept.texts}
    assert hold_out([rows], seed=1, names={"rows"}) == ([kept], [held])


def test_too_few_rows_to_hold_out_require_a_validation_file() -> None:
    with pytest.raises(TrainingDataError, match="--valid"):
        hold_out([Rows("rows", ["a", "b"], ["x", "y"], "digest")], seed=1, names={"rows"})


def test_a_validation_label_missing_in_training_is_rejected(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"text": "a", "label": x} for x in "pn"])
    valid = write_rows(tmp_path / "valid.jsonl", [{"text": "a", "label": "q"}])
    with pytest.raises(
        TrainingDataError, match=r"valid\.jsonl has labels that no training row has: q$"
    ):
        read_corpus([Source(data)], validation=[valid])


def test_validation_texts_that_are_also_in_training_are_counted(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"text": f"A  {x}", "label": x} for x in "pn"])
    valid = write_rows(tmp_path / "valid.jsonl", [{"text": x, "label": "p"} for x in ("a P", "b")])
    corpus = read_corpus([Source(data)], validation=[valid])
    assert corpus.seen_in_training(corpus.validation[0]) == 1


def test_a_named_source_is_held_out_beside_the_validation_files(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "first.jsonl", separable_rows(400, seed=1))
    second = write_rows(tmp_path / "second.jsonl", separable_rows(400, seed=2))
    valid = write_rows(tmp_path / "valid.jsonl", separable_rows(50, seed=3))
    sources = [Source(first), Source(second)]
    corpus = read_corpus(sources, validation=[valid], held_out=["second.jsonl"])
    assert [rows.name for rows in corpus.validation] == ["valid.jsonl", "second.jsonl (held out)"]
    assert len(corpus.training[0]) == 400
    assert len(corpus.training[1]) + len(corpus.validation[1]) == 400
    with pytest.raises(TrainingOptionsError, match=r"--hold-out third\.jsonl"):
        read_corpus(sources, held_out=["third.jsonl"])
