"""`sentq score` never guesses what its arguments are, and overwrites no file unasked."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import pytest

from sentq.cli.source import InputFile, find_source, looks_like_a_path
from sentq.errors import InvalidInput
from sentq.files import FileProblem, Format
from tests.support.commands.cli import CliRun
from tests.support.processes import RedisProcess, StartWorker


def _find(
    *arguments: str, form: Format | None = None, field: str | None = None
) -> InputFile | None:
    return find_source(arguments, form=form, field=field, as_text=False)


@pytest.fixture(autouse=True)
def _in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["t.log", "reviews", "t.csv.bz2", "t.gz", "t.xlsx"])
def test_a_file_whose_name_does_not_say_what_is_in_it_is_refused(name: str) -> None:
    Path(name).write_text("text\n")
    with pytest.raises(FileProblem) as caught:
        _find(name)
    for option in ("--format", "jsonl, csv, tsv, parquet, txt", "--as-text"):
        assert option in str(caught.value)
    with pytest.raises(FileProblem, match="--format"):
        _find(name, field="body")
    assert _find(name, form=Format.CSV, field="body") == InputFile(name, Format.CSV, "body")
    assert find_source([name], form=None, field=None, as_text=True) is None


@pytest.mark.parametrize("name", ["a.tsv", "a b.CSV.gz", "a.ndjson", "a.json", "a.parquet"])
def test_a_file_of_a_known_kind_is_read_with_the_field(name: str) -> None:
    Path(name).touch()
    form = Format.of(name)
    assert form is not None
    assert _find(name, field="body") == InputFile(name, form, "body")
    assert _find(name) == InputFile(name, form, "text")


@pytest.mark.parametrize("name", ["none.jsonl", "none.tsv", "none.csv.gz", "x/none.gz"])
def test_the_name_of_a_data_file_that_does_not_exist_is_not_scored(name: str) -> None:
    with pytest.raises(FileProblem, match=r"cannot read .*--as-text scores the word itself"):
        _find(name)
    assert find_source([name], form=None, field=None, as_text=True) is None


def test_a_folder_is_refused() -> None:
    for name in ("reviews", "parts.csv"):
        Path(name).mkdir()
        with pytest.raises(FileProblem, match="is a folder"):
            _find(name)


def test_a_file_among_several_arguments_is_refused() -> None:
    Path("a.csv").touch()
    for arguments in (("a.csv", "b"), ("good", "a.csv"), ("good", "-")):
        with pytest.raises(FileProblem, match="give one file and nothing else"):
            _find(*arguments)
    assert _find("good", "", "bad") is None


@pytest.mark.parametrize(
    ("arguments", "form", "field", "error", "says"),
    [
        (["a day"], None, "body", FileProblem, "--field reads a file"),
        (["aday"], None, "body", FileProblem, "there is no file aday"),
        (["one", "two"], Format.CSV, None, InvalidInput, "read one file"),
        (["one", "two"], None, "body", InvalidInput, "read one file"),
        (["-"], None, "body", InvalidInput, "--format jsonl, csv, tsv"),
        (["x.txt"], Format.TXT, "body", InvalidInput, "plain lines have none"),
    ],
)
def test_options_that_do_not_fit_the_input_are_refused(
    arguments: list[str],
    form: Format | None,
    field: str | None,
    error: type[Exception],
    says: str,
) -> None:
    with pytest.raises(error, match=says):
        _find(*arguments, form=form, field=field)


@pytest.mark.parametrize(
    "text",
    ["", "a fine day", "great. Really.", "10/10", "and/or", "x" * 5000, "a\0b", "U.S.A.", "1.5"],
)
def test_a_text_is_a_text(text: str) -> None:
    assert _find(text) is None
    assert not looks_like_a_path(text)


def test_words_that_look_like_paths_are_known() -> None:
    for word in ("notes.xlsx", "./notes", "/srv/x", "~/reviews", "data/a.dat"):
        assert looks_like_a_path(word)


# --- The command -----------------------------------------------------------------------------


@pytest.mark.slow
def test_files_of_all_kinds_are_scored_and_nothing_is_overwritten(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    start_worker(redis_server.url)
    run = CliRun(redis_server.url)

    def score(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run("score", *arguments, stdin=stdin)

    Path("t.tsv").write_text("id\tbody\n1\ta good day\n2\tbad film\n")
    Path("t.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfbody,id\na good day,1\nbad film,2\n"))
    Path("t.ndjson").write_text('{"body": "a good day"}\n{"body": "bad film"}\n')
    printed = {}
    for name in ("t.tsv", "t.csv.gz", "t.ndjson"):
        done = score(name, "--field", "body")
        assert done.returncode == 0, done.stderr
        printed[name] = done.stdout
    assert [json.loads(row)["text"] for row in printed["t.tsv"].splitlines()] == [
        "a good day",
        "bad film",
    ]
    assert len(set(printed.values())) == 1
    piped = score("-", "--format", "tsv", "--field", "body", stdin=Path("t.tsv").read_text())
    assert piped.stdout == printed["t.tsv"]

    # A word that looks like a file's name is scored with a hint.
    hinted = score("notes.xlsx")
    assert hinted.returncode == 0
    assert "there is no file notes.xlsx; it is scored as a text" in hinted.stderr
    assert score("notes.xlsx", "--as-text").stderr == ""

    # An output file with content is kept unless --force is given; an empty one holds nothing.
    scored = ("t.tsv", "--field", "body", "-o", "out.jsonl")
    Path("out.jsonl").touch()
    assert score(*scored).returncode == 0
    written = Path("out.jsonl").read_text()
    assert [json.loads(row)["body"] for row in written.splitlines()] == ["a good day", "bad film"]
    Path("out.jsonl").write_text("hours of work\n")
    again = score(*scored)
    assert again.returncode == 2
    assert "out.jsonl exists already: --restart overwrites it" in again.stderr
    assert Path("out.jsonl").read_text() == "hours of work\n"
    assert score(*scored, "--force").returncode == 0
    assert Path("out.jsonl").read_text() == written
    same = score("t.tsv", "-o", "./t.tsv", "--force")
    assert same.returncode == 2
    assert "is the input" in same.stderr
    assert Path("t.tsv").read_text().startswith("id\tbody")
    assert score("hi", "-o", "/dev/null").returncode == 0

    # The progress counts records, which have several lines here.
    Path("long.csv").write_text("text\n" + '"a good\nday"\n\n' * 300)
    assert "300/300" in run.on_a_terminal("score", "long.csv")

    # With --out, several files, a folder and a pattern are inputs too.
    Path("in").mkdir()
    for name, text in (("a.csv", "a good day"), ("b.csv", "bad film")):
        Path("in", name).write_text(f"text,name\n{text},{name}\n")
    for inputs in (("in",), ("in/*.csv",), ("in/a.csv", "in/b.csv")):
        assert score(*inputs, "--out", "all.csv", "--restart").returncode == 0
        assert Path("all.csv").read_text().count(".csv,") == 2
    lost = score("in/a.csv", "in/none.csv", "--out", "all.jsonl")
    assert (lost.returncode, Path("all.jsonl").exists()) == (2, False)
    assert "cannot read in/none.csv" in lost.stderr
    assert score("in", "--out", "-", "--progress", "none").stdout.count("sentq_label") == 2
    figures = score("in", "--out", "two.csv", "--progress", "json").stderr.splitlines()
    assert [json.loads(line)["event"] for line in figures] == ["begin", "progress", "summary"]
