"""The command `sentq` in a shell: its output, errors and exit codes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import sentq.cli
import sentq_worker.cli
from tests.support.commands.cli import CliRun
from tests.support.processes import RedisProcess, StartWorker, free_port


@pytest.fixture
def run(redis_server: RedisProcess) -> CliRun:
    return CliRun(redis_server.url)


def _rows(printed: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in printed.splitlines()]


@pytest.fixture
def worker(redis_server: RedisProcess, start_worker: StartWorker) -> None:
    start_worker(redis_server.url)


def test_texts_and_files_and_pipes_are_scored(run: CliRun, worker: None, tmp_path: Path) -> None:
    done = run("score", "a good day", "bad film")
    assert done.returncode == 0, done.stderr
    assert [row["n"] for row in _rows(done.stdout)] == [1, 2]
    assert {"text", "label", "score", "scores", "sentiment", "tokens", "windows"} < set(
        _rows(done.stdout)[0]
    )

    piped = run("score", "-", stdin="a good day\nbad film\n")
    assert piped.stdout == done.stdout
    assert piped.stderr == ""

    (tmp_path / "in.csv").write_text("id,body\n1,a good day\n2,bad film\n")
    output = tmp_path / "out.jsonl"
    from_file = run("score", str(tmp_path / "in.csv"), "--field", "body")
    assert from_file.stdout == done.stdout
    written = run("score", str(tmp_path / "in.csv"), "--field", "body", "-o", str(output))
    assert (written.returncode, written.stdout) == (0, "")
    rows = _rows(output.read_text())
    assert [(row["id"], row["body"]) for row in rows] == [("1", "a good day"), ("2", "bad film")]
    assert [row["sentq_label"] for row in rows] == [row["label"] for row in _rows(done.stdout)]
    assert "2 rows in " in written.stderr

    (tmp_path / "in.jsonl").write_text('{"text": "a good day"}\n{"text": "bad film"}\n')
    short = _rows(run("score", str(tmp_path / "in.jsonl"), "--no-text").stdout)
    assert all("text" not in row for row in short)

    # Invalid rows are error outcomes in order, and the exit code reports them.
    (tmp_path / "bad.jsonl").write_text('{"text": "good"}\n{broken\n{"text": ""}\n{"text": 5}\n')
    partly = run("score", str(tmp_path / "bad.jsonl"))
    assert partly.returncode == 1
    assert "3 texts could not be scored" in partly.stderr
    codes = [row.get("error", {}).get("code") for row in _rows(partly.stdout)]  # type: ignore[attr-defined]
    assert codes == [None, "unreadable", "empty_text", "not_a_string"]

    # On a terminal the output is a table, without control characters of the texts.
    shown = run.on_a_terminal("score", "a good day", "evil \x1b[2J text", "")
    assert "label" in shown
    assert "a good day" in shown
    assert "\x1b[2J" not in shown
    assert "empty_text" in shown
    assert "{" not in shown

    many = tmp_path / "many.txt"
    many.write_text("fine day\n" * 500)
    with_bar = run.on_a_terminal("score", str(many), "--force", "-o", str(output))
    assert "500 rows in " in with_bar
    assert "500/500" in run.on_a_terminal("score", str(many))
    assert len(output.read_text().splitlines()) == 500


@pytest.mark.slow
def test_help_and_version(run: CliRun) -> None:
    assert "Examples:" in run("score", "--help").stdout
    assert "Exit codes:" in run("score", "--help").stdout
    assert run("--version").stdout.startswith("sentq ")
    for command in ("dev", "demo"):
        assert run(command, "--help").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["score"], 2, "Missing argument"),
        (["score", "none.jsonl"], 2, "cannot read none.jsonl"),
        (["score", "x", "--config", "none.toml"], 2, "cannot read the settings file"),
        (["score", "x", "--output", "/proc/none/out.csv"], 2, "cannot write"),
        (["score", "x", "--output", "out"], 2, "does not say the format"),
        (["score", "x", "--prefix", "y"], 2, "go with --out"),
        (["score", "x", "--key", "y", "--out", "out.csv"], 2, "do not go with --out"),
        (["score", "x", "--timeout", "0.2"], 4, "queued"),
        (["score", "x", "--broker-url", f"redis://127.0.0.1:{free_port()}/0"], 3, "sentq dev"),
        (["scroe"], 2, "No such command"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    run: CliRun, arguments: list[str], code: int, says: str
) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_the_command_waits_for_a_full_queue_and_then_reports_it(
    run: CliRun, redis_server: RedisProcess, tmp_path: Path
) -> None:
    (tmp_path / "sentq.toml").write_text("max_queued_jobs = 1")
    with redis_server.client() as redis:
        redis.lpush("sentq.bulk", "{}")
    done = run("score", "x", "--timeout", "4", "--config", str(tmp_path / "sentq.toml"))
    assert done.returncode == 5, done.stderr
    *waiting, refused = done.stderr.splitlines()
    assert any("waiting for capacity" in line for line in waiting)
    assert refused.startswith("sentq: the queue sentq.bulk is full: 1 jobs waiting")


def test_a_file_without_the_column_is_an_error_that_lists_the_columns(
    run: CliRun, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("id,body\n1,x\n")
    done = run("score", str(tmp_path / "a.csv"))
    assert done.returncode == 2
    assert "id, body" in done.stderr


def test_no_command_has_two_options_of_one_name() -> None:
    def check(command: Any) -> None:
        options = Counter(
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("-")
        )
        assert not options or max(options.values()) == 1, (command.name, options)
        for other in getattr(command, "commands", {}).values():
            check(other)

    for app in (sentq.cli.app, sentq_worker.cli.app):
        check(get_command(app))
