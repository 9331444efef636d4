"""The version of this code, and the commit that it was built from, as far as it is known.

A wheel has the commit in `build.json`, which the build writes. In a checkout it is read from the
files of `.git`, without running git, and only if the checkout is that of sentq.
"""

from __future__ import annotations

import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["VERSION", "describe_version", "find_commit"]

VERSION: Final = "0.1.0"

_BUILD_FILE: Final = "build.json"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHOWN_DIGITS: Final = 12


def describe_version() -> str:
    """Return the version for people, such as `0.1.0 (commit 0a1b2c3d4e5f)`."""
    commit = find_commit()
    return f"{VERSION} (commit {commit})" if commit else VERSION


@cache
def find_commit() -> str | None:
    """Return the first digits of the commit that this code was built from, or is checked out at;
    None if that is not known."""
    folder = Path(__file__).parent
    try:
        commit = _built_from(folder / _BUILD_FILE) or _checked_out(folder.parents[1])
    except (OSError, ValueError):
        return None
    return commit[:_SHOWN_DIGITS] if commit else None


def _built_from(file: Path) -> str | None:
    if not file.is_file():
        return None
    document = json.loads(file.read_text(encoding="utf-8"))
    return _commit(document.get("commit")) if isinstance(document, dict) else None


def _checked_out(root: Path) -> str | None:
    """Return the commit of the checkout of sentq in a folder, if it is one."""
    project = root / "pyproject.toml"
    if not (root / ".git").exists() or not project.is_file():
        return None
    about = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {})
    if about.get("name") != "sentq":
        return None
    folder = _git_folder(root / ".git")
    head = (folder / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref: "):
        return _commit(head)
    name = head.removeprefix("ref: ")
    shared = folder / "commondir"  # In a worktree, branches are in the main folder.
    folders = [folder]
    if shared.is_file():
        folders.append(folder / shared.read_text(encoding="utf-8").strip())
    return next((found for each in folders if (found := _branch(each, name))), None)


def _git_folder(path: Path) -> Path:
    """Return the folder of git's files: `.git`, or what it names in a worktree."""
    if path.is_dir():
        return path
    named = path.read_text(encoding="utf-8").strip().removeprefix("gitdir: ")
    return path.parent / named


def _branch(folder: Path, name: str) -> str | None:
    loose, packed = folder / name, folder / "packed-refs"
    if loose.is_file():
        return _commit(loose.read_text(encoding="utf-8").strip())
    if packed.is_file():
        for line in packed.read_text(encoding="utf-8").splitlines():
            commit, _, branch = line.partition(" ")
            if branch == name:
                return _commit(commit)
    return None


def _commit(found: object) -> str | None:
    return found if isinstance(found, str) and _COMMIT.fullmatch(found) else None
