"""The programs in `examples/`, run as a user runs them: from a shell, against a real worker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from sentq import Client
from tests.support.commands.bundled import bundled_worker
from tests.support.commands.shell import WAIT_S, Shell
from tests.support.commands.snippets import docstring_of, shown_session
from tests.support.processes import RedisProcess, StartWorker, eventually, free_port

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
SHOP: Final = EXAMPLES / "celery_shop"

STAND_IN: Final = ("tests.support.workers.standin",)


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a worker with the bundled model and its own Redis; give the URL."""
    # As the README of the Celery application says.
    routes = {"SENTQ_WORKER_FOLLOW_ROUTES": '{"shop.*": "shop"}'}
    with bundled_worker(tmp_path_factory.mktemp("bundled"), **routes) as url:
        yield url


@pytest.mark.parametrize(
    "program", ["quickstart.py", "stream_a_file.py", "submit_now_read_later.py"]
)
def test_a_program_prints_what_its_docstring_shows(
    program: str, tmp_path: Path, bundled: str
) -> None:
    shell = Shell(tmp_path, bundled)
    session = list(shown_session(docstring_of(EXAMPLES / program)))
    assert any(f"python examples/{program}" in command for command, _ in session)
    for command, shown in session:
        assert shell.run(command)[1] == shown, command


@pytest.mark.slow
@pytest.mark.parametrize(
    "program", ["stream_a_file.py", "submit_now_read_later.py", "operator_report.py"]
)
def test_a_program_explains_its_options(program: str, tmp_path: Path) -> None:
    code, printed = Shell(tmp_path, "").run(f"python examples/{program} --help")
    assert (code, printed[:6]) == (0, "usage:")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "expected_code"),
    [
        ("quickstart.py", 1),
        ("stream_a_file.py <<< text", 3),
        ("submit_now_read_later.py submit <(echo 'key\ttext')", 3),
        ("operator_report.py", 1),
    ],
)
def test_without_redis_a_program_says_so_in_its_last_lines(
    command: str, expected_code: int, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, f"redis://127.0.0.1:{free_port()}/0")
    code, printed = shell.run(f"python examples/{command}")
    assert (code, "Traceback" in printed) == (expected_code, False), printed
    assert "Connection refused" in printed
    assert "sentq dev" in printed or command != "quickstart.py"


# --- Streaming -------------------------------------------------------------------------------


def test_a_stream_is_read_no_further_than_its_output_is(tmp_path: Path, bundled: str) -> None:
    command = "yes 'a day' | python examples/stream_a_file.py | head -n 100"
    code, printed = Shell(tmp_path, bundled).run(command)
    assert (code, len(printed.splitlines())) == (0, 100), printed
    assert "Traceback" not in printed


def test_a_line_that_is_not_utf8_is_an_error_in_its_place(tmp_path: Path, bundled: str) -> None:
    (tmp_path / "texts.txt").write_bytes(b"fine\n\xff\nfine\n")
    code, printed = Shell(tmp_path, bundled).run("python examples/stream_a_file.py texts.txt")
    assert code == 1
    first, second, third, summary = printed.splitlines()
    assert ('"label"' in first, '"lone_surrogate"' in second, '"label"' in third) == (True,) * 3
    assert summary == "stream_a_file: 2 lines scored, 1 not"


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    code, printed = Shell(tmp_path, "redis://").run("python examples/stream_a_file.py none.txt")
    assert (code, printed) == (
        2,
        "stream_a_file: cannot read none.txt: No such file or directory\n",
    )


# --- Submitting now, reading later -----------------------------------------------------------

SUBMIT: Final = "python examples/submit_now_read_later.py submit"
READ: Final = "python examples/submit_now_read_later.py read"


def test_each_end_of_a_job_is_told_apart(
    tmp_path: Path, redis_server: RedisProcess, client: Client
) -> None:
    shell = Shell(tmp_path, redis_server.url)
    cancelled = client.submit("text")
    cancelled.cancel()
    jobs = {
        "waiting": client.submit("text").id,
        "cancelled": cancelled.id,
        "expired": "00000000-0001-7000-8000-000000000001",  # An id of the year 1970.
        "unknown": "never-sent",
    }
    (tmp_path / "jobs.tsv").write_text("".join(f"{key}\t{job}\n" for key, job in jobs.items()))
    code, printed = shell.run(f"{READ} jobs.tsv --timeout 0.1")
    assert code == 1
    assert printed.splitlines()[:3] == [
        "waiting: not finished: read it again later",
        "cancelled: cancelled",
        "expired: expired: Redis no longer keeps the result",
    ]
    assert printed.splitlines()[3].startswith("unknown: failed: Redis knows no job never-sent")


@pytest.mark.slow
def test_a_text_whose_deadline_has_passed_is_not_scored(
    tmp_path: Path, redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    shell = Shell(tmp_path, redis_server.url)
    assert shell.run(f"{SUBMIT} <(echo 'key\ttext') --deadline 0.001 > jobs.tsv") == (0, "")
    start_worker(redis_server.url, command=STAND_IN)
    assert shell.run(f"{READ} jobs.tsv") == (1, "key: not scored: deadline_passed\n")


@pytest.mark.slow
def test_a_full_queue_is_tried_again_until_a_worker_makes_room(
    tmp_path: Path, redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    shell = Shell(tmp_path, redis_server.url, SENTQ_MAX_QUEUED_JOBS="1")
    (tmp_path / "orders.tsv").write_text("first\ta day\nsecond\ta film\n")
    code, printed = shell.run(f"{SUBMIT} orders.tsv --attempts 1")
    assert (code, "is full" in printed) == (5, True), printed

    with shell.start(f"{SUBMIT} orders.tsv --attempts 60") as submitting:
        assert submitting.stdout is not None
        tried_again = submitting.stdout.readline()
        start_worker(redis_server.url, command=STAND_IN)
        *_, first, second = submitting.communicate(timeout=WAIT_S)[0].splitlines()
    assert tried_again == "the queue is full: trying again in 10.0 s\n"
    assert submitting.returncode == 0
    (tmp_path / "jobs.tsv").write_text(f"{first}\n{second}\n")
    code, printed = shell.run(f"{READ} jobs.tsv")
    assert code == 0
    assert [line.split(":")[0] for line in printed.splitlines()] == ["first", "second"]


# --- The operator's report -------------------------------------------------------------------


@pytest.mark.slow
def test_the_report_shows_what_needs_attention(
    tmp_path: Path, redis_server: RedisProcess, start_worker: StartWorker, client: Client
) -> None:
    shell = Shell(tmp_path, redis_server.url)
    ((command, shown),) = shown_session(docstring_of(EXAMPLES / "operator_report.py"))
    code, printed = shell.run(command)
    assert (code, printed.splitlines()[-1]) == (
        1,
        "ATTENTION: no worker reports; start one with sentq-worker",
    )

    start_worker(redis_server.url, command=STAND_IN)
    eventually(lambda: client.service_status().workers, what="a report")
    assert shell.run(command) == (0, shown)

    with redis_server.client() as redis:
        redis.lpush("sentq", b"this is no message")
    eventually(lambda: client.service_status().dead_letters, what="a dead letter")
    code, printed = shell.run(command)
    assert (code, printed.splitlines()[-1]) == (
        1,
        "ATTENTION: dead letters with the code malformed: 1",
    )


# --- A Celery application --------------------------------------------------------------------


@pytest.mark.slow
def test_a_plain_celery_application_uses_sentq_as_its_readme_shows(
    tmp_path: Path, bundled: str
) -> None:
    shell = Shell(tmp_path, bundled, SHOP_DB=str(tmp_path / "shop.sqlite3"))
    shell.folder = SHOP
    ((command, shown),) = shown_session(docstring_of(SHOP / "run.py"))
    readme = (SHOP / "README.md").read_text()
    assert f"$ {command}\n{shown}" in readme
    (worker_command,) = re.findall(r"^\$ (celery .+)$", readme, re.MULTILINE)

    worker = shell.start(f"exec {worker_command}")
    try:
        ended = shell.run(command)
    finally:
        worker.terminate()
        printed, _ = worker.communicate(timeout=30)
    assert ended == (0, shown), printed
    assert "Traceback" not in printed
    assert (tmp_path / "shop.sqlite3").exists()


def test_the_celery_application_imports_nothing_of_sentq() -> None:
    for file in (SHOP / "shop.py", SHOP / "run.py"):
        assert re.findall(r"^\s*(?:from|import) sentq", file.read_text(), re.MULTILINE) == []


# --- Training --------------------------------------------------------------------------------


@pytest.mark.slow  # It starts four programs that import torch.
def test_a_model_is_trained_evaluated_and_served(
    tmp_path: Path, redis_server: RedisProcess, tiny_model: Path
) -> None:
    settings = {"BASE": str(tiny_model), "SENTQ_WORKER_THREADS": "1"}
    shell = Shell(tmp_path, redis_server.url, **settings)
    source = re.sub("^# ?", "", (EXAMPLES / "fine_tune.sh").read_text(), flags=re.MULTILINE)
    ((command, shown),) = shown_session(source)
    code, printed = shell.run(command)
    assert code == 0, printed
    assert "held-out.csv: 12 texts, accuracy" in printed
    rows = [line.split(maxsplit=2) for line in printed.splitlines()[-2:]]
    assert [text for *_, text in rows] == [
        line.split(maxsplit=2)[2] for line in shown.splitlines()[-2:]
    ]
    assert {label for label, *_ in rows} <= {"shipping", "billing"}


def test_a_folder_for_the_trained_model_must_be_named(tmp_path: Path) -> None:
    code, printed = Shell(tmp_path, "").run("sh examples/fine_tune.sh")
    assert code == 2
    assert "usage: sh examples/fine_tune.sh FOLDER" in printed
    assert [entry.name for entry in tmp_path.iterdir()] == ["examples"]


def test_the_readme_lists_every_program() -> None:
    listed = re.findall(r"^\| \[(.+?)\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    there = [path for path in EXAMPLES.iterdir() if not path.name.startswith(("README", "__"))]
    assert sorted(listed) == sorted(p.name + ("/" if p.is_dir() else "") for p in there)
