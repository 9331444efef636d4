"""Logs of the processes that tests start: shown and kept if a test fails.

Each failed test gets a folder in `.test-failures/<time of the run>/`. It holds the report and the
logs of all processes that wrote something while the test ran.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

__all__ = ["choose_folder", "keep_logs", "register_log"]

#: The variable that tells the processes of pytest-xdist the folder of this run.
_VARIABLE: Final = "TEST_FAILURES_FOLDER"

#: How much of each log stands in pytest's own output; the file is kept whole.
_SHOWN_CHARS: Final = 6_000

#: Log files of all processes that this process of pytest has started.
_logs: list[Path] = []


def choose_folder(root: Path) -> None:
    """Choose the folder of this run. It is made when the first test fails."""
    run = time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}"
    os.environ.setdefault(_VARIABLE, str(root / ".test-failures" / run))


def register_log(file: Path) -> Path:
    """Keep this log if a test fails while the process writes it.

    Returns:
        The same path.
    """
    _logs.append(file)
    return file


def keep_logs(report: pytest.TestReport, *, started_s: float) -> None:
    """Add the logs to the report of a failed test, and copy them and the report to the folder.

    Args:
        report: The report of the phase that failed.
        started_s: When the test started, in seconds since the epoch.
    """
    folder = Path(os.environ[_VARIABLE]) / _as_file_name(report.nodeid)
    folder.mkdir(parents=True, exist_ok=True)
    for log in _written_since(started_s):
        report.sections.append((f"Log {log.name}", log.read_text(errors="replace")[-_SHOWN_CHARS:]))
        shutil.copyfile(log, folder / f"{report.when}-{log.name}")
    sections = [f"--- {title}\n{text}" for title, text in report.sections]
    whole = "\n".join([report.nodeid, report.longreprtext, *sections])
    (folder / f"{report.when}.txt").write_text(whole, errors="replace")
    report.sections.append(("Kept in", str(folder)))


def _written_since(at_s: float) -> Iterator[Path]:
    for log in dict.fromkeys(_logs):
        # A file system may round times down to whole seconds.
        if log.exists() and log.stat().st_size and log.stat().st_mtime >= at_s - 1:
            yield log


def _as_file_name(nodeid: str) -> str:
    return re.sub(r"[^\w.=-]+", "_", nodeid.removeprefix("tests/"))[:150]
