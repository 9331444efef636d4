"""`Scorer` in other tools: the programs in examples/big_data, and two processes of each library.

Arrow is in every environment of tests. The other libraries, and Java for Spark, are in that of
`make bigdata`; there a test fails if one is missing.
"""

from __future__ import annotations

import importlib.util
import json
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
    "with_ray.py": ["ray"],
    "with_spark.py": ["pyspark", "java"],
    "with_dask.py": ["dask"],
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


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


def _figures(tiny_model: Path, way: str) -> dict[str, float]:
    arguments = ("--texts", "2000", "--dtype", "float32", "--model", str(tiny_model), way)
    printed = _run(["-m", "benchmarks.scorer", "--json", *arguments], ROOT)
    figures: dict[str, float] = json.loads(printed)
    return figures


@pytest.mark.parametrize("way", ["one_process", "pandas", "datasets", "ray", "spark", "dask"])
def test_scores_are_those_of_the_engine(way: str, tiny_model: Path) -> None:
    """Also in two processes, of which each has loaded the model, and with rows in parts."""
    _need(NEEDED.get(f"with_{way}.py", ["pyarrow"]))
    figures = _figures(tiny_model, way)
    assert figures[f"{way}_other_labels"] == 0
    assert figures[f"{way}_max_abs_diff"] < 1e-5
    assert figures[f"{way}_processes"] == (1 if way in {"one_process", "pandas"} else 2)
