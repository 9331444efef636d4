"""The kind of each test: what it runs on. Every test has exactly one.

`pytest -m redis` runs one kind. A test's kind is, in this order: the marker that stands at the
test or its file; what its fixtures need; what its folder holds. Independent of the kind is
`slow`: `make test` leaves those tests to `make check`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

__all__ = ["KINDS", "NoKind", "kind_of"]

#: All kinds, from the least to the most that a test needs.
KINDS: Final = {
    "unit": "runs in this process alone",
    "redis": "runs on a real Redis",
    "models": "loads models with torch, trains or evaluates",
    "process": "starts real workers, clients or Celery applications as processes",
    "packaging": "builds or installs wheels, or uses the files of configs/ and docker/",
    "fault": "cuts connections and kills processes at each step of the protocol",
}

#: What the tests of a folder are, unless their fixtures or markers say more.
_FOLDERS: Final = {
    "": "unit",
    "contract": "unit",
    "examples": "process",
    "faults": "fault",
    "model": "models",
    "packaging": "packaging",
    "producer": "unit",
    "rehearsal": "unit",
    "security": "process",
    "support": "unit",
    "system": "process",
    "worker": "unit",
    "worker/inference": "models",
    "worker/training": "models",
}

#: What tests need that ask for these fixtures.
_FIXTURES: Final = {
    "_redis_process": "redis",
    "own_redis": "redis",
    "tiny_model": "models",
    "start_worker": "process",
    "fork_server": "fault",
}

_RANKS: Final = {kind: rank for rank, kind in enumerate(KINDS)}
_TESTS: Final = Path(__file__).parents[1]


class NoKind(ValueError):
    """A test has no kind, or more than one."""


def kind_of(item: pytest.Item) -> str:
    """Return the kind of a test.

    Raises:
        NoKind: The test is marked with two kinds, or its folder is not known here.
    """
    marked = {mark.name for mark in item.iter_markers() if mark.name in KINDS}
    if len(marked) > 1:
        raise NoKind(f"{item.nodeid} is marked with more than one kind: {sorted(marked)}")
    if marked:
        return marked.pop()
    needed = [_FIXTURES[name] for name in _fixtures(item) if name in _FIXTURES]
    return max([_of_folder(item.path.parent), *needed], key=_RANKS.__getitem__)


def _of_folder(folder: Path) -> str:
    inside = folder.relative_to(_TESTS)
    for each in (inside, *inside.parents):
        name = "" if each == Path() else each.as_posix()
        if name in _FOLDERS and (name or not inside.parts):
            return _FOLDERS[name]
    raise NoKind(f"give tests/{inside} a kind in {Path(__file__).relative_to(_TESTS.parent)}")


def _fixtures(item: pytest.Item) -> Iterable[str]:
    names: Iterable[str] = getattr(item, "fixturenames", ())
    return names
