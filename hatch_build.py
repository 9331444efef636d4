"""Writes the commit that a distribution is built from into it, for `sentq --version`, and builds no
distribution whose version is not the one that the commit is tagged with.

The commit is that of this checkout, or the variable SOURCE_COMMIT where `.git` is not there, as in
a container's build. A distribution that is built from a source distribution keeps its commit.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FILE = "producer/sentq/build.json"


class CommitHook(BuildHookInterface[Any]):
    """Adds `build.json` to the package `sentq`, unless the commit is not known."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file.

        Raises:
            WrongTag: The commit is tagged with another version.
        """
        root = Path(self.root)
        if version != "editable":
            check_tags(root, self.metadata.version)
        commit = os.environ.get("SOURCE_COMMIT") or _commit_of(root)
        if version == "editable" or not commit or (root / _FILE).exists():
            return
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "build.json"
        file.write_text(json.dumps({"commit": commit}) + "\n", encoding="utf-8")
        target = _FILE if self.target_name == "sdist" else _FILE.removeprefix("producer/")
        build_data["force_include"][str(file)] = target


class WrongTag(ValueError):
    """The commit is tagged with another version than the one that is built."""


def check_tags(root: Path, version: str) -> None:
    """Check that a checkout, if its commit is tagged as a version (v0.1.0), is of that version.

    Raises:
        WrongTag: It is tagged as another one.
    """
    tags = (_git(root, "tag", "--points-at", "HEAD", "--list", "v[0-9]*") or "").split()
    if tags and f"v{version}" not in tags:
        raise WrongTag(f"this commit is tagged {', '.join(tags)}; pyproject.toml says {version}")


def _commit_of(root: Path) -> str | None:
    return _git(root, "rev-parse", "HEAD")


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints for a checkout. Not for a folder around it."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
