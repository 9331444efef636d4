"""Versions: tags, and what is built from a tagged commit."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest
from hatch_build import WrongTag, check_tags

from sentq.version import VERSION

ROOT = Path(__file__).parents[2]


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@localhost")
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout with one commit."""
    _git(tmp_path, "init")
    _git(tmp_path, "commit", "--allow-empty", "--message", "one")
    return tmp_path


def test_a_tagged_commit_is_built_only_as_the_version_of_its_tag(checkout: Path) -> None:
    check_tags(checkout, "0.2.0")
    _git(checkout, "tag", "--annotate", "v0.2.0", "--message", "sentq 0.2.0")
    _git(checkout, "tag", "very-good")
    check_tags(checkout, "0.2.0")
    with pytest.raises(WrongTag, match=r"tagged v0\.2\.0; pyproject\.toml says 0\.3\.0"):
        check_tags(checkout, "0.3.0")


def test_a_commit_after_the_tag_and_a_folder_without_git_are_built(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _git(checkout, "tag", "v0.2.0")
    _git(checkout, "commit", "--allow-empty", "--message", "two")
    check_tags(checkout, "0.3.0")
    check_tags(tmp_path_factory.mktemp("unpacked"), "0.3.0")


def test_the_changelog_has_a_section_for_the_version_or_for_what_comes_next() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert version == VERSION
    assert f"## [{version}]" in changelog or "## [Unreleased]" in changelog
