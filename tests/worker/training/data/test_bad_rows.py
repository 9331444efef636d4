"""Invalid rows and files, filters, and the weights of sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentq_worker.training.data.rows import Filter, Source, read_rows
from sentq_worker.training.errors import TrainingDataError, TrainingOptionsError
from tests.support.labelled_rows import separable_rows, write_rows


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "secret words", "label": ',
        '["secret words", "positive"]',
        '{"label": "positive", "other": "secret words"}',
        '{"text": ["secret words"], "label": "positive"}',
        '{"text": "secret words", "label": 1}',
        '{"text": "secret words", "label": null}',
        '{"text": "secret words"}',
        '{"text": "secret words \\ud800", "label": "positive"}',
        '{"text": "   ", "label": "secret words"}',
    ],
)
def test_an_invalid_row_is_named_by_its_line_and_never_quoted(line: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "good", "label": "positive"}\n\n' + line + "\n")
    with pytest.raises(TrainingDataError, match=r"rows\.jsonl, line 3: ") as caught:
        read_rows(path)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_bytes_that_are_not_utf8_are_an_invalid_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "secret \xff", "label": "positive"}\n')
    with pytest.raises(TrainingDataError, match="line 1: byte 18 of line 1, 0xFF, is not UTF-8"):
        read_rows(path)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"none\.jsonl: No such file"):
        read_rows(tmp_path / "none.jsonl")
    path = write_rows(tmp_path / "rows.jsonl.gz", separable_rows(50, seed=7))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TrainingDataError, match="damaged gzip file"):
        read_rows(path)


def test_a_filter_keeps_equal_values_and_rows_without_the_field(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "label": "positive", "split": "train"},
        {"text": "b", "label": "positive", "split": "valid"},
        {"text": "c", "label": "positive"},
        {"text": "d", "label": "positive", "split": "train", "root": True},
        {"text": "e", "label": "positive", "split": "train", "root": False, "stars": 2},
    ]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    assert read_rows(path, [Filter.parse("split=train")]).texts == ["a", "c", "d", "e"]
    both = [Filter.parse("split=train"), Filter.parse("root=true")]
    assert read_rows(path, both).texts == ["a", "c", "d"]
    with pytest.raises(TrainingDataError, match="no rows left"):
        read_rows(write_rows(path, rows[1:2]), [Filter.parse("split=train")])


@pytest.mark.parametrize("argument", ["split", "=train", ""])
def test_a_filter_without_field_or_value_is_rejected(argument: str) -> None:
    with pytest.raises(TrainingOptionsError, match="FIELD=VALUE"):
        Filter.parse(argument)


def test_a_source_may_carry_a_weight() -> None:
    assert Source.parse("rows.jsonl.gz@0.3") == Source(Path("rows.jsonl.gz"), 0.3)
    assert Source.parse("rows@home.jsonl") == Source(Path("rows@home.jsonl"), 1.0)
    for argument in ("rows.jsonl@0", "rows.jsonl@-1", "rows.jsonl@nan", "rows.jsonl@inf"):
        with pytest.raises(TrainingOptionsError, match="positive number"):
            Source.parse(argument)
