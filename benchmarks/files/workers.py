"""A file through two workers, beside the bare engine on the same two cores.

    python -m benchmarks.files.workers [--json] [--rows N] [--turns N] DATA...

DATA are files of JSON lines with a key `text`, also `.gz`. Rows are chosen from all of them at
random. `sentq score FILE --out OUT` reads and writes CSV with two other columns; client, Redis and
one worker a core share the cores. The bare engine is a process a core, each with half of the texts
in memory. In each turn both score all rows, one after the other. Take many rows: at the end of a
file one worker is idle while the other one scores the last batch, half a second on average.

The run fails if a row of the output is not there, or not in its place.
"""

from __future__ import annotations

import os

# Before torch is imported: two OpenMP threads on one core are up to 20 times slower than one.
os.environ["OMP_NUM_THREADS"] = "1"

import csv
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks.figures import argument_parser, show
from benchmarks.pipeline import BenchmarkedService, running_service
from sentq.cli.file_run import QueueScoring
from sentq.cli.waiting import WaitNotices
from sentq.contract import Limits
from sentq.files import Format
from sentq.files.reading.texts import read_texts
from sentq.files.run.command import run_files
from sentq.files.run.options import RunRequest
from sentq.files.run.watch import ProgressKind
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings

#: Texts that the bare engine gets as one job: a job has a limit of tokens.
_TEXTS_PER_JOB: Final = 4096

#: Texts that each way scores before the first turn.
_WARM_UP: Final = 512


class RowsDiffer(Exception):
    """The output does not have the rows of the input."""


class _EngineProcess:
    """An engine on a core, in a process of its own."""

    def __init__(self, core: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_score_on, args=(core, theirs), daemon=True)
        self._process.start()
        self.dtype: str = self._pipe.recv()

    def begin(self, texts: Sequence[str]) -> None:
        """Begin to score texts."""
        self._pipe.send(list(texts))

    def end(self) -> int:
        """Wait until they are scored, and return how many outcomes there are."""
        return int(self._pipe.recv())

    def stop(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()


def _score_on(core: int, pipe: Connection) -> None:
    os.sched_setaffinity(0, [core])
    scorer = load_scorer(WorkerSettings.load(device="cpu", threads=1), Limits())
    pipe.send(scorer.engine.info.dtype)
    while (texts := pipe.recv()) is not None:
        jobs = [texts[n : n + _TEXTS_PER_JOB] for n in range(0, len(texts), _TEXTS_PER_JOB)]
        pipe.send(sum(map(len, scorer.score(jobs))))


def _score_file(service: BenchmarkedService, source: Path, out: Path) -> None:
    request = RunRequest(
        inputs=[str(source)], out=str(out), program="sentq", progress=ProgressKind.NONE
    )
    with WaitNotices(service.client.backlog, lambda _: None) as notices:
        scoring = QueueScoring(service.client, notices, timeout_s=None, local_only=False)
        run_files(request, lambda: scoring, Console(quiet=True))


def _texts(files: Sequence[Path], count: int) -> list[str]:
    found = [
        text
        for file in files
        for text in read_texts(str(file), Format.JSONL, "text")
        if isinstance(text, str)
    ]
    random.Random(19).shuffle(found)  # noqa: S311 - the same rows in each run
    if len(found) < count:
        raise ValueError(f"the files have {len(found):,} rows")
    return found[:count]


def _write(path: Path, texts: Sequence[str]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "chars"])
        writer.writerows([n, text, len(text)] for n, text in enumerate(texts))


def _check(path: Path, texts: Sequence[str]) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if [row["text"] for row in rows] != list(texts) or not all(
        row["sentq_label"] or row["sentq_error"] for row in rows
    ):
        raise RowsDiffer


def measure(texts: Sequence[str], *, turns: int, cores: Sequence[int]) -> dict[str, Any]:
    """Measure all figures."""
    engines = [_EngineProcess(core) for core in cores]

    def engine(part: Sequence[str]) -> None:
        for n, each in enumerate(engines):
            each.begin(part[n :: len(engines)])
        if sum(each.end() for each in engines) != len(part):
            raise RowsDiffer

    times_s: dict[str, list[float]] = {"engine": [], "file": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        service = stack.enter_context(running_service(cores, dtype=engines[0].dtype))
        service.map(texts[:_WARM_UP])
        engine(texts[:_WARM_UP])
        source = folder / "in.csv"
        _write(source, texts)
        for turn in range(turns):
            out = folder / f"out-{turn}.csv"
            began = time.perf_counter()
            engine(texts)
            between = time.perf_counter()
            _score_file(service, source, out)
            times_s["engine"].append(between - began)
            times_s["file"].append(time.perf_counter() - between)
            _check(out, texts)
    for each in engines:
        each.stop()
    ratios = [a / b for a, b in zip(times_s["engine"], times_s["file"], strict=True)]
    return {
        "rows": len(texts),
        "turns": turns,
        "workers": len(cores),
        "dtype": engines[0].dtype,
        **{
            f"{way}_rows_per_s": round(len(texts) * turns / sum(s), 1) for way, s in times_s.items()
        },
        "file_over_engine": round(sum(times_s["engine"]) / sum(times_s["file"]), 3),
        "file_over_engine_by_turn": f"{min(ratios):.3f}..{max(ratios):.3f}",
        "median_of_turns": round(statistics.median(ratios), 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    texts = _texts(options.data, options.rows)
    show(measure(texts, turns=options.turns, cores=cores), as_json=options.json)


if __name__ == "__main__":
    main()
