"""What passes through a run: columns with their types, from each format to each other."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentq.files import FileProblem, Format, MissingLibrary
from tests.support.files.scoring import run_by_rule


@pytest.fixture(autouse=True)
def _in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _lines(name: str) -> list[dict[str, Any]]:
    data = Path(name).read_bytes()
    if name.endswith(".gz"):
        data = gzip.decompress(data)
    elif name.endswith(".zst"):
        data = pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
    return [json.loads(line) for line in data.decode().split("\n") if line]


def _cells(name: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(Path(name).read_bytes().decode(), newline="")))


_TYPED = pa.table(
    {
        "text": ["a good day", "a bad day", None],
        "list": [[1, 2], None, []],
        "struct": [{"a": {"b": "x"}}, None, {"a": None}],
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        "when": [dt.datetime(2024, 2, 29, 1, 2, 3, 4, dt.UTC), None, None],
        "exact": pa.array([1, 2, None], pa.timestamp("ns")),
        "far": pa.array([2**52, None, 0], pa.timestamp("ms")),
        "day": [dt.date(1969, 7, 20), None, None],
        "money": [decimal.Decimal("1.10"), None, decimal.Decimal("-2.00")],
        "bytes": [b"\xff\x00", b"", None],
        "word": pa.array(["x", "y", "x"]).dictionary_encode(),
        "small": pa.array([1, None, 3], pa.int8()),
        "truth": [True, None, False],
    },
    schema=None,
).replace_schema_metadata({"of": "the owner"})


def test_parquet_keeps_its_types_and_its_metadata() -> None:
    parquet.write_table(_TYPED, "in.parquet", row_group_size=2)
    run_by_rule("in.parquet", "out.parquet")
    before, after = parquet.read_table("in.parquet"), parquet.read_table("out.parquet")
    assert after.select(before.schema.names).equals(before, check_metadata=True)
    assert after.schema.names[len(before.schema.names) :] == [
        *("sentq_label", "sentq_score", "sentq_sentiment", "sentq_error", "sentq_message")
    ]
    assert after["sentq_label"].to_pylist() == ["positive", "negative", None]
    assert after["sentq_error"].to_pylist() == [None, None, "not_a_string"]


def test_parquet_becomes_json_lines_and_csv() -> None:
    parquet.write_table(_TYPED, "in.parquet")
    run_by_rule("in.parquet", "out.jsonl")
    first = _lines("out.jsonl")[0]
    assert first["list"] == [1, 2]
    assert first["struct"] == {"a": {"b": "x"}}
    assert first["when"] == "2024-02-29T01:02:03.000004+00:00"
    assert first["exact"] == "1970-01-01 00:00:00.000000001"
    assert first["day"] == "1969-07-20"
    assert first["money"] == "1.10"
    assert first["bytes"] == "/wA="
    assert first["truth"] is True
    run_by_rule("in.parquet", "out.csv")
    header, row, *_ = _cells("out.csv")
    cells = dict(zip(header, row, strict=True))
    assert cells["list"] == "[1,2]"
    assert cells["money"] == "1.10"
    assert cells["truth"] == "true"
    assert cells["sentq_label"] == "positive"


def test_the_object_of_a_json_line_is_written_as_it_stands() -> None:
    odd = '{"n":  123456789012345678901234567890, "f": 1.0, "text": "good", "u": "\\u00e9" }'
    Path("in.jsonl").write_text(f"{odd}\n{{}}\n")
    run_by_rule("in.jsonl", "out.jsonl")
    first, second = Path("out.jsonl").read_text().splitlines()
    assert first.startswith(odd[:-2] + ',"sentq_label":"positive"')
    assert second.startswith('{"sentq_label":null')


def test_json_lines_become_columns_of_the_types_that_all_rows_share() -> None:
    rows: list[dict[str, object]] = [
        {"text": "good", "n": 1, "f": 1, "mixed": 1, "b": True, "deep": {"a": 1}},
        {"text": "bad", "n": None, "f": 0.5, "mixed": "x", "late": "only here"},
    ]
    Path("in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run_by_rule("in.jsonl", "out.parquet")
    table = parquet.read_table("out.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert {name: types[name] for name in ("n", "f", "mixed", "b", "deep", "late")} == {
        "n": "int64",
        "f": "double",
        "mixed": "string",
        "b": "bool",
        "deep": "string",
        "late": "string",
    }
    assert table["deep"].to_pylist() == ['{"a":1}', None]
    run_by_rule("in.jsonl", "out.csv")
    header, *found = _cells("out.csv")
    assert header[:7] == ["text", "n", "f", "mixed", "b", "deep", "late"]
    assert [row[3] for row in found] == ["1", "x"]


def test_cells_of_csv_keep_what_is_in_them() -> None:
    cells = ['a "good" day,\r\nindeed', "", " spaced ", "x\ry", "ü", "'"]
    with Path("in.csv").open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(
            [["text", "a", "b", "c", "d", "e"], cells]
        )
    run_by_rule("in.csv", "out.csv")
    assert _cells("out.csv")[1][:6] == cells
    run_by_rule("in.csv", "out.jsonl")
    assert list(_lines("out.jsonl")[0].values())[:6] == cells


def test_a_byte_that_is_no_text_is_the_same_byte_in_the_output() -> None:
    Path("in.csv").write_bytes(b"text,name\na good day,caf\xe9\n")
    run_by_rule("in.csv", "out.csv")
    assert b"a good day,caf\xe9,positive" in Path("out.csv").read_bytes()
    run_by_rule("in.csv", "out.parquet")
    assert parquet.read_table("out.parquet")["name"].to_pylist() == ["caf\N{REPLACEMENT CHARACTER}"]


def test_a_second_column_of_one_name_gets_a_number() -> None:
    Path("in.csv").write_text("id,text,id,id_2\n1,good,2,3\n")
    run_by_rule("in.csv", "out.jsonl")
    (row,) = _lines("out.jsonl")
    assert {name: row[name] for name in ("id", "id_3", "id_2")} == {
        "id": "1",
        "id_3": "2",
        "id_2": "3",
    }


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_compressed_files_are_read_and_written(suffix: str) -> None:
    Path("in.jsonl").write_text('{"text": "good"}\n{"text": "bad"}\n' * 3)
    run_by_rule("in.jsonl", f"one.csv{suffix}")
    run_by_rule(f"one.csv{suffix}", f"two.jsonl{suffix}", prefix="again_")
    assert [row["again_label"] for row in _lines(f"two.jsonl{suffix}")] == [
        "positive",
        "negative",
    ] * 3


def test_parquet_may_be_compressed_as_a_whole() -> None:
    parquet.write_table(pa.table({"text": ["good"]}), "in.parquet")
    Path("in.parquet.gz").write_bytes(gzip.compress(Path("in.parquet").read_bytes()))
    run_by_rule("in.parquet.gz", "out.jsonl")
    assert _lines("out.jsonl")[0]["sentq_label"] == "positive"


def test_plain_lines_become_a_column() -> None:
    Path("in.txt").write_text("good\n\nbad")
    run_by_rule("in.txt", "out.csv")
    assert [row[:2] for row in _cells("out.csv")] == [
        ["text", "sentq_label"],
        ["good", "positive"],
        ["", ""],
        ["bad", "negative"],
    ]


def test_a_field_of_tsv_has_no_separator_and_no_line_end() -> None:
    Path("in.csv").write_text('text,a\n"good\tand\nbad","say ""hi"""\n')
    run_by_rule("in.csv", "out.tsv")
    header, row = Path("out.tsv").read_text().splitlines()
    assert header.split("\t")[:2] == ["text", "a"]
    assert row.split("\t")[:2] == ["good and bad", 'say "hi"']


def test_files_of_a_folder_and_of_a_pattern_follow_each_other() -> None:
    Path("in").mkdir()
    for name, text in (("b.csv", "bad"), ("a.csv", "good"), ("_x.csv", "left out")):
        Path("in", name).write_text(f"text,n\n{text},{name}\n")
    Path("in", "notes").write_text("left out")
    for inputs in ("in", "in/[ab]*.csv", ["in/a.csv", "in/b.csv"]):
        run_by_rule(inputs, "out.jsonl", restart=True)
        assert [row["text"] for row in _lines("out.jsonl")] == ["good", "bad"]
    Path("in", "b.csv").write_text("n,text\n1,bad\n")
    with pytest.raises(FileProblem, match=r"b\.csv has other columns than in/a\.csv"):
        run_by_rule("in", "out.jsonl", restart=True)


def test_parquet_files_of_other_types_are_refused() -> None:
    parquet.write_table(pa.table({"text": ["good"], "n": [1]}), "a.parquet")
    parquet.write_table(pa.table({"text": ["good"], "n": ["1"]}), "b.parquet")
    with pytest.raises(FileProblem, match=r"b\.parquet has other columns, or other types"):
        run_by_rule(["a.parquet", "b.parquet"], "out.parquet")


def test_columns_are_chosen() -> None:
    Path("in.csv").write_text("text\ngood\n")
    run_by_rule("in.csv", "out.jsonl", columns="scores, label,tokens", prefix="s.")
    (row,) = _lines("out.jsonl")
    assert list(row) == ["text", "s.scores", "s.label", "s.tokens"]
    run_by_rule("in.csv", "out.parquet", columns="scores,windows,language_supported")
    schema = parquet.read_table("out.parquet").schema
    assert str(schema.field("sentq_windows").type) == "int64"
    assert str(schema.field("sentq_language_supported").type) == "bool"
    with pytest.raises(FileProblem, match="'colour' is not a part of an outcome"):
        run_by_rule("in.csv", "out.csv", columns="label,colour")


def test_the_columns_of_an_earlier_run_are_not_doubled() -> None:
    Path("in.jsonl").write_text('{"text": "good", "sentq_label": "old"}\n')
    run_by_rule("in.jsonl", "out.jsonl")
    assert Path("out.jsonl").read_text().count("sentq_label") == 1
    assert _lines("out.jsonl")[0]["sentq_label"] == "positive"
    with pytest.raises(FileProblem, match="has a column 'sentq_label' already"):
        run_by_rule("out.jsonl", "again.csv")


@pytest.mark.parametrize(
    ("out", "options", "says"),
    [
        ("out", {}, "does not say the format of the output"),
        ("out.txt", {}, "plain lines cannot hold outcomes"),
        ("out.parquet.gz", {}, "Parquet is compressed inside"),
        ("-", {"out_form": Format.PARQUET}, "cannot be written to standard output"),
        ("out.csv", {"encoding": "latin-77"}, "there is no encoding 'latin-77'"),
        ("out.csv", {"encoding": "hex"}, "there is no encoding 'hex'"),
        ("out.csv", {"separator": ";;"}, "--separator takes one character"),
        ("in.csv", {}, "is the input"),
        ("none/deep/out.csv", {"field": "none"}, "there is no column 'none'"),
    ],
)
def test_what_is_impossible_is_refused_before_anything_is_written(
    out: str, options: dict[str, Any], says: str
) -> None:
    Path("in.csv").write_text("text\ngood\n")
    with pytest.raises(FileProblem, match=says):
        run_by_rule("in.csv", out, **options)
    assert [path.name for path in Path().iterdir()] == ["in.csv"]


def test_a_format_without_its_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("in.csv").write_text("text\ngood\n")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    for out in ("out.parquet", "out.csv.zst"):
        with pytest.raises(MissingLibrary, match=r'pip install "sentq\[files\]"'):
            run_by_rule("in.csv", out)
    run_by_rule("in.csv", "out.csv.gz")


def _many(rows: int) -> Iterator[str]:
    for n in range(rows):
        yield f'{n},"a {"good" if n % 3 else "bad"} day, number {n}"\n'


@pytest.mark.parametrize("out", ["out.csv", "out.jsonl.gz", "out.parquet", "out/"])
def test_parts_are_joined_in_order(out: str) -> None:
    count = 217
    Path("in.csv").write_text("id,text\n" + "".join(_many(count)))
    tally = run_by_rule(
        "in.csv", out, rows_per_part=100, out_form=Format.CSV if out == "out/" else None
    )
    assert tally.rows == tally.labels.total() == count
    match out:
        case "out.csv":
            ids = [row[0] for row in _cells(out)[1:]]
        case "out.jsonl.gz":
            ids = [row["id"] for row in _lines(out)]
        case "out.parquet":
            ids = parquet.read_table(out)["id"].to_pylist()
        case _:
            parts = sorted(Path(out).glob("part-*.csv"))
            assert len(parts) == 3
            ids = [row[0] for part in parts for row in _cells(str(part))[1:]]
    assert ids == [str(n) for n in range(count)]
    assert not Path("out.csv.parts").exists()


def test_an_error_never_quotes_a_text() -> None:
    Path("in.csv").write_text('id,text\n1,"CANARY" x\n2,CANARY,3\n')
    run_by_rule("in.csv", "out.jsonl")
    assert "CANARY" not in Path("out.jsonl").read_text()
