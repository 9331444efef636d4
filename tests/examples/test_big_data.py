"""`Scorer` in other tools: the programs in examples/big_data.

Arrow is in every environment of tests. The other libraries, and Java for Spark, are in that of
`make bigdata`; there a test fails if one is missing.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands.snippets import docstring_of, shown_session
from tests.support.missing import skip_without

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples" / "big_data"

#: What each program needs beside sentq.
NEEDED: Final = {
    "with_arrow.py": ["pyarrow"],
    "with_pandas.py": ["pandas"],
    "with_datasets.py": ["datasets"],
    "with_spark.py": ["pyspark", "java"],
    "with_dask.py": ["dask"],
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def _need(what: list[str]) -> None:
    for each in what:
        is_here = shutil.which("java") if each == "java" else importlib.util.find_spec(each)
        if not is_here and os.environ.get("BIGDATA"):
            pytest.fail(f"{each} is missing: `make bigdata` needs it", pytrace=False)
        if not is_here:
            skip_without(each, "not installed; `make bigdata` has it")


def _run(command: list[str], folder: Path) -> str:
    """Run Python with these arguments, and return what it has printed to standard output."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", NEEDED)
def test_a_program_prints_what_its_docstring_shows(program: str, tmp_path: Path) -> None:
    _need(NEEDED[program])
    ((command, shown),) = shown_session(docstring_of(EXAMPLES / program))
    python, file, *arguments = command.split()
    assert (python, file) == ("python", f"examples/big_data/{program}")
    assert _run([str(ROOT / file), *arguments], tmp_path) == shown


def test_each_program_is_run_here() -> None:
    assert {file.name for file in EXAMPLES.glob("*.py")} == {*NEEDED}
