"""Every block of code in README.md and docs/: run, or at least parsed, or marked as not tested."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from sentq import Settings
from sentq_worker.settings import HubSettings, WorkerSettings
from sentq_worker.testing import LocalHub
from tests.support.commands.bundled import bundled_worker
from tests.support.commands.parsing import CannotParse, parse_command
from tests.support.commands.shell import Shell
from tests.support.commands.snippets import DOCUMENTS, Snippet, commands, snippets
from tests.support.gateway.process import GatewayProcess
from tests.support.missing import skip_without

ALL: Final = [snippet for document in DOCUMENTS for snippet in snippets(document)]
TESTED: Final = [snippet for snippet in ALL if not snippet.mark.startswith("not run, ")]

#: Files that the commands of the documents read.
FILES: Final = {
    "reviews.csv": b"id,body\n1,Loved it.\n2,It broke after two days. Terrible.\n",
    "reviews.tsv.gz": gzip.compress(b"id\tbody\n1\tLoved it.\n"),
    "lines.txt": b"Loved it.\nIt broke after two days. Terrible.\n",
}


def _tested(language: str, mark: str = "") -> list[Snippet]:
    return [one for one in TESTED if one.language == language and one.mark == mark]


def _ids(snippet: Snippet) -> str:
    return snippet.name


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a worker with the bundled model and its own Redis; give the URL."""
    with bundled_worker(tmp_path_factory.mktemp("bundled")) as url:
        yield url


# --- All blocks ------------------------------------------------------------------------------


def test_every_block_is_of_a_kind_that_is_tested_here() -> None:
    kinds = Counter(
        (one.language, "from" if one.source else one.mark.partition(",")[0]) for one in ALL
    )
    assert kinds.keys() <= {
        ("console", ""),
        ("console", "parsed"),
        ("console", "gateway"),
        ("console", "not run"),
        ("python", ""),
        ("python", "from"),
        ("python", "not run"),
        ("python", "test"),
        ("toml", ""),
        ("yaml", ""),  # tests/packaging/test_kubernetes.py compares them with the schema.
        ("json", ""),
        ("mermaid", ""),  # A drawing,
        ("", ""),  # or one of characters.
    }
    # Docker, podman, a cluster and a second model are not everywhere where tests run, a test writes
    # no file of the project, and what another test runs is not run twice.
    left_out = {one.mark for one in ALL if one not in TESTED}
    assert left_out == {
        "not run, needs Docker",
        "not run, needs a cluster",
        "not run, needs a second model",
        "not run, needs podman",
        "not run, writes a file of the project",
        "not run, tests/packaging/test_observability.py runs it",
    }


def test_every_line_of_a_console_block_is_a_command_or_an_output() -> None:
    for snippet in ALL:
        if snippet.language == "console":
            assert snippet.code.startswith("$ "), snippet.name
            assert "".join(f"$ {c}\n{out}" for c, out in commands(snippet.code)) == snippet.code


# --- Blocks that are parts of examples ---------------------------------------------------------


@pytest.mark.parametrize("snippet", [one for one in ALL if one.source], ids=_ids)
def test_a_block_is_a_part_of_the_example(snippet: Snippet) -> None:
    assert snippet.source is not None
    assert f"\n{snippet.code}" in f"\n{snippet.source.read_text(encoding='utf-8')}"


# --- Blocks that are parsed ------------------------------------------------------------------


@pytest.mark.parametrize("snippet", _tested("console", "parsed"), ids=_ids)
def test_the_programs_know_the_options_of_a_command(snippet: Snippet) -> None:
    for command, _ in commands(snippet.code):
        parse_command(command)


@pytest.mark.parametrize(
    "command",
    [
        "sentq-worker --modle x",
        "sentq dead lsit",
        "sentq dead list --newer-than soon",
        "SENTQ_WORKER_MODLE=x sentq-worker",
        "make demmo",
        'pip install "sentq[wrker]"',
        "celery -A sentq_wrker worker",
        "frobnicate",
    ],
)
def test_a_command_that_a_program_refuses_is_found(command: str) -> None:
    with pytest.raises(CannotParse):
        parse_command(command)


@pytest.mark.parametrize("snippet", _tested("toml"), ids=_ids)
def test_a_settings_file_is_valid(snippet: Snippet, tmp_path: Path) -> None:
    file = tmp_path / "sentq.toml"
    file.write_text(snippet.code)
    assert tomllib.loads(snippet.code)
    for settings in (Settings, WorkerSettings, HubSettings):
        assert settings.problems(file) == []


@pytest.mark.parametrize("snippet", _tested("json"), ids=_ids)
def test_a_document_is_valid_json(snippet: Snippet) -> None:
    assert json.loads(snippet.code)


# --- Blocks that are run ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("snippet", _tested("console"), ids=_ids)
def test_a_command_prints_what_the_document_shows(
    snippet: Snippet, tmp_path: Path, bundled: str
) -> None:
    shell = Shell(tmp_path, bundled)
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    with LocalHub() as hub:
        address = hub.endpoint.removesuffix("/")
        for command, shown in commands(snippet.code.replace("http://127.0.0.1:8123", address)):
            if command.startswith("export SENTQ_BROKER_URL="):
                continue  # The document has no address of the reader's Redis; `shell` has.
            code, printed = shell.run_on_a_terminal(command)
            assert code == 0, f"{command}\n{printed}"
            if shown:
                assert printed == shown, command


@pytest.mark.slow
@pytest.mark.parametrize("document", [*{one.document for one in _tested("console", "gateway")}])
def test_commands_beside_a_gateway_print_what_the_document_shows(
    document: Path, tmp_path: Path, bundled: str
) -> None:
    for program in ("curl", "jq"):
        if shutil.which(program) is None:
            skip_without(program, f"no {program}")
    shell = Shell(tmp_path, bundled)
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    gateway = GatewayProcess(tmp_path, bundled).wait_until_ready()
    try:
        for snippet in _tested("console", "gateway"):
            code = snippet.code.replace("http://127.0.0.1:8200", gateway.url)
            for command, shown in commands(code if snippet.document == document else ""):
                assert shell.run(command) == (0, shown), command
    finally:
        gateway.stop()


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[ET.Element]]:
    """Run the tests of all documents in one process, which takes seconds to start; give what pytest
    reports of the tests of each block."""
    folder = tmp_path_factory.mktemp("snippets")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    for number, snippet in enumerate(_tested("python", "test")):
        (folder / f"test_{number}.py").write_text(snippet.code)
    options = ["-p", "sentq_pytest", "-q", "-m", "not slow", "--junitxml", "report.xml"]
    subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=120,
    )
    found = [*ET.parse(folder / "report.xml").iter("testcase")]  # noqa: S314 - pytest wrote it
    return {
        snippet.name: [each for each in found if each.get("classname") == f"test_{number}"]
        for number, snippet in enumerate(_tested("python", "test"))
    }


@pytest.mark.parametrize("snippet", _tested("python", "test"), ids=_ids)
def test_a_test_passes(snippet: Snippet, reported: dict[str, list[ET.Element]]) -> None:
    tests = reported[snippet.name]
    assert tests, "no test of the block ran"
    for test in tests:
        failed = [each for each in test if each.tag in ("failure", "error", "skipped")]
        assert not failed, failed[0].text


@pytest.mark.parametrize("snippet", _tested("python"), ids=_ids)
def test_a_program_prints_what_its_comments_say(
    snippet: Snippet, tmp_path: Path, bundled: str
) -> None:
    expected = re.findall(r"^print\(.*\)  # (.+)$", snippet.code, re.MULTILINE)
    assert expected, "a comment at the end of a line says what it prints"
    (tmp_path / "snippet.py").write_text(snippet.code)
    code, printed = Shell(tmp_path, bundled).run("python snippet.py")
    assert (code, printed.splitlines()) == (0, expected)
