"""Texts from files, and rows without a text."""

from __future__ import annotations

import gzip
import os
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentq.contract import ErrorCode, TextError
from sentq.files import FileProblem, Format, MissingLibrary
from sentq.files.reading.texts import count_texts, read_texts


def _read(path: Path, field: str = "text") -> list[object]:
    form = Format.of(path.name)
    assert form is not None
    texts = list(read_texts(str(path), form, field))
    assert count_texts(str(path), form) == len(texts)
    return texts


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_formats_are_chosen_by_file_name() -> None:
    assert Format.of("a.JSONL") is Format.JSONL
    assert Format.of("dir.csv/a.txt") is Format.TXT
    assert Format.of("a.TSV.gz") is Format.TSV
    assert Format.of("a.ndjson") is Format.of("a.json") is Format.JSONL
    assert Format.of("a.csv.zst") is Format.CSV
    assert Format.of("a.parquet.gz") is Format.PARQUET
    for name in ("great. Really.", "a.xlsx", "a.gz", ".csv", "a.csv.bz2"):
        assert Format.of(name) is None


def test_plain_lines(tmp_path: Path) -> None:
    assert _read(_write(tmp_path, "a.txt", "one\r\ntwo\n\nfour")) == ["one", "two", "", "four"]


def test_json_lines_with_a_field_of_choice(tmp_path: Path) -> None:
    path = _write(
        tmp_path, "a.jsonl", '{"body": "one", "x": 1}\n\n{"body": "zw\\u00f6lf"}\n"bare"\n'
    )
    assert _read(path, "body") == ["one", "zwölf", "bare"]


def test_a_json_line_without_a_text_yields_an_error_outcome(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.jsonl", '{"text": "one"}\n{broken\n{"other": 1}\n{"text": 7}\n')
    first, broken, missing, number = _read(path)
    assert first == "one"
    assert isinstance(broken, TextError)
    assert broken.code is ErrorCode.UNREADABLE
    assert isinstance(missing, TextError)
    assert "'text'" in missing.message
    assert number == 7  # The contract rejects it later.


def test_csv_with_quotes_and_embedded_line_breaks(tmp_path: Path) -> None:
    content = 'id,text\r\n1,"a, ""quoted""\nsecond line"\r\n2,plain\r\n3\r\n'
    one, two, short = _read(_write(tmp_path, "a.csv", content))
    assert one == 'a, "quoted"\nsecond line'
    assert two == "plain"
    assert isinstance(short, TextError)


def test_csv_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    assert _read(_write(tmp_path, "a.csv", b"\xef\xbb\xbftext\nhello\n")) == ["hello"]


def test_csv_fields_may_be_as_long_as_a_text(tmp_path: Path) -> None:
    assert _read(_write(tmp_path, "a.csv", "text\n" + "x" * 200_000)) == ["x" * 200_000]


def test_a_missing_csv_column_is_an_error_that_lists_the_columns(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="--field: id, body"):
        _read(_write(tmp_path, "a.csv", "id,body\n1,x\n"))


def test_a_line_that_is_not_utf8_does_not_fail_its_neighbours(tmp_path: Path) -> None:
    good, bad, after = _read(_write(tmp_path, "a.txt", b"good\nb\xffd\nafter\n"))
    assert (good, after) == ("good", "after")
    assert isinstance(bad, TextError)
    assert bad.code is ErrorCode.UNREADABLE
    assert bad.message == "line 2: byte 2 of line 2, 0xFF, is not UTF-8"


_ROWS = ["first", "two\nlines, and a comma", "größer 😀"]


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.NDJSON", "a.json.gz", "a.csv", "a.csv.GZ", "a.tsv", "a.parquet"]
)
def test_every_format_yields_the_texts_of_its_rows(name: str, tmp_path: Path) -> None:
    rows, content = list(_ROWS), ""
    path = tmp_path / name
    if ".tsv" in name:
        rows[1] = 'one line, and " a quote'
        content = "id\tbody\n" + "".join(f"{n}\t{row}\n" for n, row in enumerate(rows))
    elif ".csv" in name.lower():
        content = "id,body\n" + "".join(f'{n},"{row}"\n' for n, row in enumerate(rows))
    elif name.endswith(".parquet"):
        parquet.write_table(pa.table({"id": range(3), "body": rows}), path)
    else:
        content = "".join(f'{{"id": {n}, "body": "{row}"}}\n' for n, row in enumerate(rows))
        content = content.replace("two\n", "two\\n")
    if content:
        data = content.encode("utf-8-sig")
        path.write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
    assert _read(path, "body") == rows


def test_a_row_that_cannot_be_read_is_an_error_at_its_line_among_the_others(
    tmp_path: Path,
) -> None:
    content = 'id,text\n1,good\n2,"quoted" text\n3,one,two\n4\n\n5,fine\n6,"open\n7,kept\n'
    good, quoted, long, short, fine, unclosed, after = _read(_write(tmp_path, "a.csv", content))
    assert (good, fine, after) == ("good", "fine", "kept")
    for error, says in (
        (quoted, "line 3: not valid CSV"),
        (long, "line 4: 3 fields, where the header has 2"),
        (short, "line 5: 1 fields"),
        (unclosed, "line 8: not valid CSV; is a quote left open?"),
    ):
        assert isinstance(error, TextError)
        assert error.code is ErrorCode.UNREADABLE
        assert error.message.startswith(says)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", "[\n{}\n]\n", "line 1: a JSON document, not JSON lines"),
        ("a.json", '\n[{"text": "x"}]', "line 2: a JSON document"),
        ("a.json", '{\n"text": "x"\n}', "line 1: a JSON document"),
        ("a.csv", "text,text\na,b\n", "two columns have the same name"),
        ("a.csv", "", "no column 'text'; choose one with --field: none"),
        ("a.tsv", "id,text\n1,x\n", "no column 'text'; choose one with --field: id,text"),
        ("a.csv.gz", b"this is not gzip", "damaged gzip file"),
        ("a.csv.gz", gzip.compress(b"text\n" + os.urandom(9000))[:-20], "damaged gzip file"),
        ("a.parquet", b"this is not parquet", "damaged Parquet file"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_an_error(
    name: str, content: str | bytes, says: str, tmp_path: Path
) -> None:
    path = _write(tmp_path, name, content)
    form = Format.of(name)
    assert form is not None
    with pytest.raises(FileProblem, match=says):
        list(read_texts(str(path), form, "text"))


def test_a_parquet_file_without_the_column_is_an_error_that_lists_the_columns(
    tmp_path: Path,
) -> None:
    parquet.write_table(pa.table({"id": [1], "body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(FileProblem, match="--field: id, body"):
        _read(tmp_path / "a.parquet")


def test_parquet_without_its_library_is_an_error_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(tmp_path, "a.parquet", b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingLibrary, match=r'pip install "sentq\[files\]"'):
        _read(path)


def test_the_count_is_of_records_and_not_of_lines(tmp_path: Path) -> None:
    quoted = _write(tmp_path, "a.csv", 'text\n"one\nand\nmore"\n\ntwo\n')
    assert count_texts(str(quoted), Format.CSV) == 2
    assert count_texts(str(_write(tmp_path, "a.txt", "1\n2\n\n3")), Format.TXT) == 4
    assert count_texts(str(_write(tmp_path, "a.jsonl", '"a"\n\n \n{bad\n')), Format.JSONL) == 2
    parquet.write_table(pa.table({"text": ["a"] * 9000}), tmp_path / "a.parquet")
    assert count_texts(str(tmp_path / "a.parquet"), Format.PARQUET) == 9000


def test_a_pipe_is_never_counted_because_it_can_be_read_only_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("one\ntwo\n",))
    assert count_texts("-", Format.TXT) is None
    assert count_texts(str(pipe), Format.TXT) is None
    writer.start()
    assert list(read_texts(str(pipe), Format.TXT, "text")) == ["one", "two"]
    writer.join()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match=r"cannot read .*none\.txt: No such file"):
        next(read_texts(str(tmp_path / "none.txt"), Format.TXT, "text"))
