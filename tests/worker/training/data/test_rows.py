"""Labelled rows: JSON lines, CSV, TSV and Parquet, their columns and labels, and errors."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentq_worker.training.data.rows import Columns, Filter, read_rows
from sentq_worker.training.errors import TrainingDataError, TrainingOptionsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_ROWS = [
    {"text": 'A "good", long day', "label": "positive", "split": "train"},
    {"text": "two\nlines", "label": "negative", "split": "valid"},
    {"text": "größer 😀", "label": "neutral", "split": "valid"},
]

_CSV = (
    'label,text,split\r\npositive,"A ""good"", long day",train\r\n'
    'negative,"two\nlines",valid\r\n\r\nneutral,größer 😀,valid\r\n'
)


def columns(text: str = "text", label: str = "label", names: Sequence[str] = ()) -> Columns:
    return Columns.parse(text=text, label=label, names=names)


def write_parquet(path: Path, rows: Sequence[dict[str, Any]], names: Sequence[str] = ()) -> Path:
    """Write rows, with the names of the numbers in `label` as `datasets` stores them."""
    table = pa.Table.from_pylist(list(rows))
    if names:
        feature = {"names": list(names), "_type": "ClassLabel"}
        features = {"text": {"dtype": "string", "_type": "Value"}, "label": feature}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    parquet.write_table(table, path)
    return path


@pytest.mark.parametrize(
    "name", ["rows.jsonl", "rows.ndjson.gz", "rows.csv", "ROWS.CSV.GZ", "rows.parquet"]
)
def test_every_format_yields_the_same_rows(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        write_parquet(path, _ROWS)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in _ROWS)
        content = (_CSV if ".csv" in name.lower() else lines).encode()
        path.write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
    rows = read_rows(path)
    assert rows.texts == [row["text"] for row in _ROWS]
    assert rows.labels == [row["label"] for row in _ROWS]
    assert read_rows(path, [Filter.parse("split=valid")]).texts == rows.texts[1:]


def test_the_digest_depends_on_rows_and_not_on_formats(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(_CSV)
    same = write_parquet(tmp_path / "rows.parquet", _ROWS)
    other = write_parquet(tmp_path / "other.parquet", _ROWS[:2])
    assert read_rows(tmp_path / "rows.csv").digest == read_rows(same).digest
    assert read_rows(other).digest != read_rows(same).digest


def test_the_position_of_a_row_is_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(_CSV)
    assert read_rows(tmp_path / "rows.csv").places == [2, 3, 6]
    assert read_rows(write_parquet(tmp_path / "rows.parquet", _ROWS)).places == [1, 2, 3]


def test_a_quote_in_a_tsv_is_an_ordinary_character(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text('text\tlabel\n" half a quote\tnegative\nfine\tpositive\n')
    assert read_rows(path).texts == ['" half a quote', "fine"]


def test_a_byte_order_mark_does_not_hide_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("text,label\nfine,positive\n".encode("utf-8-sig"))
    assert read_rows(path).texts == ["fine"]


def test_columns_and_labels_can_be_configured(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("body,stars\nbad,1\nso so,3\ngood,5\n")
    wanted = columns("body", "stars", ["1=negative", "3=", "5=positive"])
    rows = read_rows(path, columns=wanted)
    assert rows.texts == ["bad", "good"]
    assert rows.labels == ["negative", "positive"]
    assert rows.places == [2, 4]


def test_numbers_are_labels_if_names_are_given(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "bad", "label": 0}\n{"text": "good", "label": true}\n')
    with pytest.raises(TrainingDataError, match=r"line 1: .* number.*--label-map 0=negative"):
        read_rows(path)
    named = columns(names=["0=negative", "true=positive"])
    assert read_rows(path, columns=named).labels == ["negative", "positive"]


def test_numbered_classes_of_a_dataset_have_its_names(tmp_path: Path) -> None:
    rows = [{"text": "good", "label": 1}, {"text": "bad", "label": 0}]
    path = write_parquet(tmp_path / "rows.parquet", rows, names=["neg", "pos"])
    assert read_rows(path).labels == ["pos", "neg"]
    assert read_rows(path, columns=columns(names=["neg=", "pos=positive"])).labels == ["positive"]


def test_rows_without_a_class_are_rejected(tmp_path: Path) -> None:
    rows = [{"text": "secret", "label": -1}]
    path = write_parquet(tmp_path / "rows.parquet", rows, names=["neg", "pos"])
    with pytest.raises(
        TrainingDataError, match=r"rows\.parquet, row 1: the field 'label'"
    ) as caught:
        read_rows(path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            "text,label\nfine,positive\nsecret,with,comma\n",
            "line 3: 3 fields, where the header has 2",
        ),
        ("text,label\nfine,positive\nsecret\n", "line 3: 1 fields"),
        ('text,label\nfine,positive\n"secret,negative\nmore,positive\n', "line 3: not valid CSV"),
        ("text,text\nsecret,secret\n", "line 1: two columns have the same name"),
        ("body,label\nsecret,positive\n", "line 2: the field 'text' is missing; --text-field"),
        ("text,stars\nsecret,positive\n", "line 2: the field 'label' is missing; --label-field"),
        ("text,label\nsecret,\n", "line 2: the field 'label' is empty"),
        ("text,label\n", "no rows left"),
        ("", "no rows left"),
    ],
)
def test_an_invalid_csv_is_named_by_its_line_and_never_quoted(
    content: str, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(TrainingDataError, match=complaint) as caught:
        read_rows(path)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_csv_in_another_encoding_is_rejected_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("text,label\nfine,positive\ngrößer,positive\n".encode("latin-1"))
    with pytest.raises(TrainingDataError, match="line 3: byte 3 of line 3, 0xF6, is not UTF-8"):
        read_rows(path)


def test_damaged_files_and_unknown_formats_are_rejected(tmp_path: Path) -> None:
    for name in ("rows.parquet", "rows.csv.gz"):
        (tmp_path / name).write_bytes(b"not what it says")
        with pytest.raises(TrainingDataError, match="damaged"):
            read_rows(tmp_path / name)
    with pytest.raises(TrainingDataError, match="No such file"):
        read_rows(tmp_path / "none.parquet")
    (tmp_path / "rows.xlsx").write_bytes(b"")
    with pytest.raises(TrainingDataError, match=r"rows\.xlsx: .* known are \.jsonl"):
        read_rows(tmp_path / "rows.xlsx")


def test_a_label_is_renamed_by_old_and_new() -> None:
    assert columns(names=["a=b=c", "d="]).names == {"a=b": "c", "d": None}
    for argument in ("a", "=b"):
        with pytest.raises(TrainingOptionsError, match="OLD=NEW"):
            columns(names=[argument])
