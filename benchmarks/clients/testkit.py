"""What the test kit costs: a suite of 200 tests with its fixtures, its plugin, and `import sentq`.

The suite has tests of both modes, of both clients, of streams, batches, keys, failures and time. An
empty suite of 200 tests, run in turns with it, shows what pytest takes by itself. `--before FOLDER`
compares `import sentq` with that of another checkout, in turns, too.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.figures import argument_parser, show

_TESTS: Final = 200

_SUITE: Final = """
import asyncio
import pytest
from sentq import AsyncClient, Client, JobFailed, QueueFull, WaitTimeout

client = Client()
NUMBERS = range({tests} // 8)
numbered = pytest.mark.parametrize("number", NUMBERS)

@numbered
def test_a_job(sentq, number):
    assert client.submit(f"Great! {{number}}").result(timeout=5).outcomes[0].label == "positive"

@numbered
def test_a_client_of_its_own(sentq, number):
    with Client(max_queued_jobs=10) as own:
        jobs = own.submit_many(["a", "b"], keys=[f"a {{number}}", f"b {{number}}"])
        assert len(list(own.results(jobs))) == 2

@numbered
def test_jobs_that_wait(sentq_manual, number):
    job = client.submit("x")
    with pytest.raises(WaitTimeout):
        job.result(timeout=60)
    assert sentq_manual.drain() == 1
    assert job.status() == "done"

@numbered
def test_asyncio(sentq, number):
    async def main():
        async with AsyncClient() as own:
            return await (await own.submit("x")).result(timeout=5)
    assert asyncio.run(main()).outcomes

@numbered
def test_a_stream(sentq, number):
    assert len(list(client.map(map(str, range(100)), texts_per_job=10))) == 100

@numbered
def test_failures(sentq, number):
    sentq.fail_next("ScoringFailed")
    with pytest.raises(JobFailed):
        client.submit("x").result()
    with sentq.queue_full(), pytest.raises(QueueFull):
        client.submit("x")

@numbered
def test_a_batch(sentq, number):
    assert client.batch(["a", "b", "c"]).wait(timeout=5).done == 3

@numbered
def test_time(sentq_manual, number):
    job = client.submit("x", deadline=30)
    sentq_manual.clock.advance(31)
    sentq_manual.drain()
    assert job.result().outcomes[0].code == "deadline_passed"
"""

_EMPTY_SUITE: Final = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_nothing(number):
    pass
"""

_IMPORT_TIME: Final = re.compile(r"^import time:\s*\d+ \|\s*(\d+) \| (\S+)$", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the figures."""
    parser = argument_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another checkout, to compare `import sentq`")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        suites = _medians(
            {
                "suite_s": lambda: _run_suite(Path(folder), _SUITE),
                "empty_suite_s": lambda: _run_suite(Path(folder), _EMPTY_SUITE),
            },
            options.repeats,
        )
    imports = {
        "plugin_import_ms": lambda: _import_ms("import pytest, sentq_pytest", "sentq_pytest"),
        "sentq_import_ms": lambda: _import_ms("import sentq", "sentq"),
    }
    if options.before is not None:
        path = str(options.before / "producer")
        code = f"import sys; sys.path.insert(0, {path!r}); import sentq"
        imports["sentq_import_before_ms"] = lambda: _import_ms(code, "sentq")
    figures: dict[str, object] = {"tests": _TESTS, **suites}
    figures |= _medians(imports, 2 * options.repeats)
    show(figures, as_json=options.json)


def _medians(ways: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Return the median of each way, which take turns. The first turn warms up."""
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            value = way()
            if turn:
                measured[name].append(value)
    return {name: round(statistics.median(values), 3) for name, values in measured.items()}


def _run_suite(folder: Path, suite: str) -> float:
    """Return how long pytest takes for a suite, its start included, in seconds."""
    (folder / "test_suite.py").write_text(suite.format(tests=_TESTS))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "sentq_pytest"]
    started_s = time.perf_counter()
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "test_suite.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if f"{_TESTS} passed" not in done.stdout:
        raise SystemExit(done.stdout)
    return time.perf_counter() - started_s


def _import_ms(code: str, module: str) -> float:
    """Return how long a module takes to import, with what it imports, in milliseconds."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    return {name: int(us) / 1000 for us, name in _IMPORT_TIME.findall(done.stderr)}[module]


if __name__ == "__main__":
    main()
