"""The version and the commit that the commands print."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sentq import __version__, version
from sentq.cli import app

_COMMIT = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a project; the package is two folders below it."""
    package = tmp_path / "producer" / "sentq"
    package.mkdir(parents=True)
    monkeypatch.setattr(version, "__file__", str(package / "version.py"))
    version.find_commit.cache_clear()
    return tmp_path


@pytest.fixture(autouse=True)
def _forget() -> object:
    yield
    version.find_commit.cache_clear()


def _project(folder: Path, name: str = "sentq") -> None:
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')


def _git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@localhost")
    done = subprocess.run(
        ["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_command_prints_the_version() -> None:
    printed = CliRunner().invoke(app, ["--version"]).stdout
    assert re.fullmatch(rf"sentq {re.escape(__version__)}( \(commit [0-9a-f]{{12}}\))?\n", printed)


def test_a_wheel_knows_the_commit_that_it_was_built_from(place: Path) -> None:
    (place / "producer" / "sentq" / "build.json").write_text(json.dumps({"commit": _COMMIT}))
    assert version.find_commit() == _COMMIT[:12]
    assert version.describe_version() == f"{__version__} (commit {_COMMIT[:12]})"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"commit": "$(id)"}', '{"commit": null}'])
def test_a_build_file_without_a_commit_is_ignored(place: Path, content: str) -> None:
    (place / "producer" / "sentq" / "build.json").write_text(content)
    assert version.find_commit() is None


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_checkout_knows_its_commit(place: Path, *, is_packed: bool) -> None:
    _project(place)
    _git(place, "init", "-q", "-b", "work/branch")
    assert version.find_commit() is None  # The branch has no commit yet.
    version.find_commit.cache_clear()
    _git(place, "commit", "-q", "--allow-empty", "-m", "first")
    if is_packed:
        _git(place, "pack-refs", "--all")
    commit = _git(place, "rev-parse", "HEAD")
    assert version.find_commit() == commit[:12]


def test_a_worktree_and_a_detached_head_know_their_commit(
    place: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    _project(place)
    _git(place, "init", "-q")
    _git(place, "add", ".")
    _git(place, "commit", "-q", "-m", "first")
    commit = _git(place, "rev-parse", "HEAD")
    tree = tmp_path_factory.mktemp("tree") / "of"
    _git(place, "worktree", "add", "-q", "-b", "other", str(tree))
    monkeypatch.setattr(version, "__file__", str(tree / "producer" / "sentq" / "version.py"))
    assert version.find_commit() == commit[:12]
    version.find_commit.cache_clear()
    _git(tree, "checkout", "-q", "--detach")
    assert version.find_commit() == commit[:12]


@pytest.mark.parametrize("name", ["another", None])
def test_the_git_of_another_project_is_not_read(place: Path, name: str | None) -> None:
    if name:
        _project(place, name)
    _git(place, "init", "-q")
    _git(place, "commit", "-q", "--allow-empty", "-m", "first")
    assert version.find_commit() is None
