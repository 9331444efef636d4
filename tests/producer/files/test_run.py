"""A run goes on where an earlier one ended, and mixes nothing."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from sentq.errors import ResultsUnavailable
from sentq.files import FileProblem
from sentq.files.run.manifest import Manifest
from sentq.files.run.scoring import ModelName, ScoredTexts
from sentq.files.run.state import RunChanged
from tests.support.files.scoring import RULE, RuleScoring
from tests.support.files.scoring import run_by_rule as run_with_options

#: Rows of a part.
_PART = 300
_ROWS = 3 * _PART + 100


run_by_rule = partial(run_with_options, rows_per_part=_PART)


@pytest.fixture(autouse=True)
def _in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rows() -> None:
    """A file of rows, in.csv."""
    words = ("good", "bad", "")
    Path("in.csv").write_text(
        "id,text\n" + "".join(f"{n},{words[n % 3]} day {n}\n" for n in range(_ROWS))
    )


class _EndsEarly(RuleScoring):
    """Raises an error after some texts."""

    def __init__(self, after: int, error: BaseException, model: ModelName = RULE) -> None:
        super().__init__(model)
        self._after = after
        self._error = error

    def score(self, texts: Iterable[object]) -> Iterator[ScoredTexts]:
        for scored in super().score(texts):
            self._after -= len(scored.outcomes)
            if self._after < 0:
                raise self._error
            yield scored


class _CountsTexts(RuleScoring):
    """Counts the texts that it scores."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = 0

    def score(self, texts: Iterable[object]) -> Iterator[ScoredTexts]:
        for scored in super().score(texts):
            self.texts += len(scored.outcomes)
            yield scored


def _digest(path: Path) -> str:
    if path.is_dir():
        parts = sorted(path.glob("part-*"))
        return sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()
    return sha256(path.read_bytes()).hexdigest()


def _interrupt(out: str, after: int = _PART + 200, **options: Any) -> None:
    error = ResultsUnavailable("no Redis")
    with pytest.raises(ResultsUnavailable):
        run_by_rule("in.csv", out, scoring=_EndsEarly(after, error), **options)


@pytest.mark.parametrize("out", ["out.csv", "out.csv.gz", "out.jsonl", "out.parquet", "out"])
@pytest.mark.usefixtures("rows")
def test_a_run_that_goes_on_writes_the_same_bytes(out: str) -> None:
    if out == "out":
        Path("whole").mkdir()
        Path("out").mkdir()
    run_by_rule("in.csv", "whole" + out.removeprefix("out"))
    _interrupt(out)
    counting = _CountsTexts()
    tally = run_by_rule("in.csv", out, scoring=counting)
    assert counting.texts == _ROWS - _PART
    assert tally.rows == _ROWS
    assert _digest(Path(out)) == _digest(Path("whole" + out.removeprefix("out")))
    assert not Path(out + ".parts").exists()


@pytest.mark.usefixtures("rows")
def test_the_output_appears_only_when_it_is_complete() -> None:
    _interrupt("out.csv")
    assert not Path("out.csv").exists()
    assert {path.name for path in Path("out.csv.parts").iterdir()} == {
        *("_lock", "_manifest.json", "part-00000.csv")
    }


@pytest.mark.usefixtures("rows")
def test_what_a_killed_run_left_half_is_not_used() -> None:
    _interrupt("out.csv")
    Path("out.csv.parts/part-00001.csv").write_text("a part that the manifest does not name\n")
    Path("out.csv.parts/part-00002.csv.tmp").write_text("half a p")
    run_by_rule("in.csv", "out.csv")
    run_by_rule("in.csv", "whole.csv")
    assert _digest(Path("out.csv")) == _digest(Path("whole.csv"))


@pytest.mark.parametrize("out", ["out.csv", "out"])
@pytest.mark.usefixtures("rows")
def test_a_run_that_was_killed_while_it_joined_its_parts_joins_them(
    out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("whole").mkdir()
    Path("out").mkdir()
    run_by_rule("in.csv", "whole" + out.removeprefix("out"))
    write = Manifest.write

    def killed(manifest: Manifest) -> None:
        write(manifest)
        if manifest.is_complete:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "write", killed)
        with pytest.raises(typer.Exit):
            run_by_rule("in.csv", out)
    counting = _CountsTexts()
    run_by_rule("in.csv", out, scoring=counting)
    assert counting.texts == 0
    assert _digest(Path(out)) == _digest(Path("whole" + out.removeprefix("out")))
    assert not Path(out + ".parts").exists()


@pytest.mark.usefixtures("rows")
def test_a_changed_input_is_not_mixed() -> None:
    _interrupt("out.csv")
    with Path("in.csv").open("a") as file:
        file.write("x,one more\n")
    with pytest.raises(RunChanged, match=r"the input in\.csv has changed .*--restart"):
        run_by_rule("in.csv", "out.csv")
    assert run_by_rule("in.csv", "out.csv", restart=True).rows == _ROWS + 1


@pytest.mark.usefixtures("rows")
def test_changed_options_are_not_mixed() -> None:
    _interrupt("out.csv")
    with pytest.raises(RunChanged, match=r"--columns was .* and is label. --restart"):
        run_by_rule("in.csv", "out.csv", columns="label")
    with pytest.raises(RunChanged, match="--field was not given and is id"):
        run_by_rule("in.csv", "out.csv", field="id")


@pytest.mark.usefixtures("rows")
def test_another_model_is_not_mixed() -> None:
    _interrupt("out.csv")
    other = RuleScoring(ModelName("owner/other", "abc"))
    with pytest.raises(RunChanged, match=r"scored by rule \(1\), and now owner/other \(abc\)"):
        run_by_rule("in.csv", "out.csv", scoring=other)
    assert run_by_rule("in.csv", "out.csv").rows == _ROWS


@pytest.mark.usefixtures("rows")
def test_a_model_that_changes_within_a_run_ends_it() -> None:
    class _ModelChanges(RuleScoring):
        def score(self, texts: Iterable[object]) -> Iterator[ScoredTexts]:
            for n, scored in enumerate(super().score(texts)):
                yield scored._replace(model=ModelName("rule", "1" if n < 6 else "2"))

    with pytest.raises(RunChanged, match=r"rule \(2\) answers"):
        run_by_rule("in.csv", "out.csv", scoring=_ModelChanges())
    manifest = Manifest.read(Path("out.csv.parts"))
    assert manifest is not None
    assert manifest.tally.rows == _PART
    assert manifest.model == RULE


@pytest.mark.usefixtures("rows")
def test_parts_that_are_missing_are_noticed() -> None:
    _interrupt("out.csv", 2 * _PART + 100)
    Path("out.csv.parts/part-00000.csv").unlink()
    with pytest.raises(FileProblem, match=r"parts in .* were removed or changed"):
        run_by_rule("in.csv", "out.csv")


@pytest.mark.usefixtures("rows")
def test_a_manifest_of_another_version_is_not_used() -> None:
    _interrupt("out.csv")
    manifest = Path("out.csv.parts/_manifest.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"form": 99}))
    with pytest.raises(FileProblem, match="cannot be read by this version: --restart"):
        run_by_rule("in.csv", "out.csv")
    run_by_rule("in.csv", "out.csv", restart=True)


def test_two_processes_do_not_write_one_output() -> None:
    Path("in.csv").write_text("text\ngood\n")
    with (
        Manifest(where="out.csv.parts", inputs=[], options={}).locked(),
        pytest.raises(FileProblem, match="another process writes"),
    ):
        run_by_rule("in.csv", "out.csv")


@pytest.mark.parametrize("out", ["out.csv", "out"])
def test_nothing_is_overwritten_unasked(out: str) -> None:
    Path("in.csv").write_text("text\ngood\n")
    Path("out").mkdir()
    run_by_rule("in.csv", out)
    before = _digest(Path(out))
    with pytest.raises(FileProblem, match="exists already: --restart overwrites it"):
        run_by_rule("in.csv", out)
    Path("in.csv").write_text("text\nbad\n")
    run_by_rule("in.csv", out, restart=True)
    assert _digest(Path(out)) != before


def test_a_folder_with_files_of_others_is_never_replaced() -> None:
    Path("in.csv").write_text("text\ngood\n")
    Path("out").mkdir()
    Path("out/thesis.doc").write_text("years of work")
    with pytest.raises(FileProblem, match="the folder out has other files"):
        run_by_rule("in.csv", "out", restart=True)
    assert Path("out/thesis.doc").read_text() == "years of work"


@pytest.mark.usefixtures("rows")
def test_ctrl_c_says_how_to_go_on() -> None:
    printed = io.StringIO()
    console = Console(file=printed, width=200)
    with pytest.raises(typer.Exit) as ended:
        run_by_rule(
            "in.csv",
            "out.csv",
            scoring=_EndsEarly(_PART + 64, KeyboardInterrupt()),
            console=console,
        )
    assert ended.value.exit_code == 130
    assert "the same command goes on from the parts in out.csv.parts" in printed.getvalue()
    run_by_rule("in.csv", "out.csv", console=console)
    assert f"going on after {_PART:,} rows" in printed.getvalue()
    assert f"{_ROWS:,} rows in out.csv: " in printed.getvalue()


def test_an_input_without_rows_gives_an_output_with_its_columns() -> None:
    Path("in.csv").write_text("id,text\n")
    run_by_rule("in.csv", "out.csv")
    header = Path("out.csv").read_text()
    assert header == "id,text,sentq_label,sentq_score,sentq_sentiment,sentq_error,sentq_message\n"
    run_by_rule("in.csv", "out.parquet")
    run_by_rule("out.parquet", "again.csv", prefix="again_")
    assert Path("again.csv").read_text().startswith("id,text,sentq_label")


def test_a_pipe_is_scored_and_cannot_be_resumed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)

    def feed() -> None:
        if os.fork() == 0:
            pipe.write_text("text\ngood\nbad\n")
            os._exit(0)

    feed()
    assert run_by_rule(str(pipe), "out.jsonl").rows == 2
    os.wait()
    feed()
    with pytest.raises(ResultsUnavailable):
        run_by_rule(str(pipe), "two.jsonl", scoring=_EndsEarly(0, ResultsUnavailable("no Redis")))
    os.wait()
    with pytest.raises(RunChanged, match="could be read only once"):
        run_by_rule(str(pipe), "two.jsonl")


def test_texts_are_rows_with_one_column() -> None:
    run_by_rule(["good", "bad"], "out.csv", are_texts=True)
    assert [line.split(",")[:2] for line in Path("out.csv").read_text().splitlines()] == [
        ["text", "sentq_label"],
        ["good", "positive"],
        ["bad", "negative"],
    ]


def test_a_disk_that_is_full_ends_the_run_with_one_line() -> None:
    Path("in.csv").write_text("text\n" + "good\n" * 100_000)
    Path("out.csv.parts").mkdir()
    Path("out.csv.parts/part-00000.csv.tmp").symlink_to("/dev/full")
    with pytest.raises(FileProblem, match=r"cannot write .*part-00000.csv: No space left"):
        run_by_rule("in.csv", "out.csv")
