"""Texts from files, and rows without a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentq.contract import ErrorCode, TextError
from sentq.text_files import FileProblem, Format, count_rows, open_texts, read_texts


def _read(path: Path, field: str = "text") -> list[object]:
    form = Format.of(path.name)
    assert form is not None
    with open_texts(str(path)) as stream:
        return list(read_texts(stream, form, field))


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_formats_are_chosen_by_file_name() -> None:
    assert Format.of("a.JSONL") is Format.JSONL
    assert Format.of("dir.csv/a.txt") is Format.TXT
    assert Format.of("great. Really.") is None


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
    assert isinstance(bad, str)
    assert bad == "b\udcffd"  # A lone surrogate, which the contract rejects later.


def test_rows_are_counted_for_a_progress_bar(tmp_path: Path) -> None:
    assert count_rows(str(_write(tmp_path, "a.txt", "1\n2\n3\n"))) == 3
    assert count_rows("-") is None


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="cannot read"), open_texts(str(tmp_path / "none.txt")):
        pass
