"""A run over a large Parquet file, beside plain PyArrow; killed at random moments; its memory.

    python -m benchmarks.files [--json] [--rows N] [--kills N]

The file has an id, texts of 20 to 400 characters, a time, a category and a list. The engine returns
at once, so that only reading, writing and the manifest are left. Plain PyArrow reads the same file
in batches and writes them to one file, with the same compression, without any new column.

The run fails if the output of a run that was killed differs by a byte from that of one that was
not, or if a kill has cost more than one part.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from benchmarks.figures import argument_parser, show
from benchmarks.slope import resident_mib
from tests.support.files.kills import command_of, kill_at_random_moments

_ROWS_PER_PART: Final = 8192

#: Seconds between two readings of a memory, and into how many parts the time of a run is cut.
_SAMPLE_S: Final = 0.02
_MOMENTS: Final = 5

_PLAIN: Final = """
import sys
from pyarrow import parquet
source, target = sys.argv[1:]
with parquet.ParquetFile(source) as file:
    with parquet.ParquetWriter(target, file.schema_arrow, compression="zstd") as writer:
        for batch in file.iter_batches(batch_size=65536):
            writer.write_batch(batch)
"""


class OutputDiffers(Exception):
    """The output of a run that was killed is not that of one that was not."""


def _tables(rows: int, chance: random.Random) -> Iterator[pa.Table]:
    words = [f"word{n}" for n in range(5000)]
    prose = [" ".join(chance.choices(words, k=60)) for _ in range(200)]
    for first in range(0, rows, 100_000):
        count = min(100_000, rows - first)
        yield pa.table(
            {
                "id": pa.array(range(first, first + count), pa.int64()),
                "text": [
                    f"{n} {chance.choice(prose)[: chance.randrange(20, 400)]}"
                    for n in range(first, first + count)
                ],
                "time": pa.array(range(first, first + count), pa.timestamp("ms")),
                "category": pa.array(
                    [f"category {n % 50}" for n in range(count)]
                ).dictionary_encode(),
                "list": pa.array([[n % 7, n % 11] for n in range(count)], pa.list_(pa.int32())),
            }
        )


def _write_input(path: Path, rows: int) -> None:
    writer, chance = None, random.Random(7)  # noqa: S311 - the same rows in each run
    for table in _tables(rows, chance):
        writer = writer or parquet.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


class _Cost(NamedTuple):
    """What a process has cost.

    Attributes:
        took_s: Seconds.
        cpu_s: Processor seconds.
        memory_mib: Its largest memory in each fifth of its time.
    """

    took_s: float
    cpu_s: float
    memory_mib: list[float]

    @property
    def largest_mib(self) -> float:
        """Its largest memory."""
        return max(self.memory_mib)


def _run(command: Sequence[str]) -> _Cost:
    """Run a command, and read its memory while it runs."""
    before, began = _children_cpu_s(), time.perf_counter()
    read_mib: list[float] = []
    # What the system says at the end of a process is not less than the memory of its parent.
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            read_mib.append(resident_mib(process.pid))
            time.sleep(_SAMPLE_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(command))
    took_s = time.perf_counter() - began
    return _Cost(took_s, _children_cpu_s() - before, _largest_by_moment(read_mib))


def _largest_by_moment(read_mib: Sequence[float]) -> list[float]:
    """Return the largest of the readings of a memory in each fifth of them."""
    cuts = [len(read_mib) * n // _MOMENTS for n in range(_MOMENTS + 1)]
    return [round(max(read_mib[a:b], default=0.0), 1) for a, b in itertools.pairwise(cuts)]


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _memory_by_rows(
    folder: Path, rows: int, run: Callable[[Path, str], list[str]]
) -> dict[str, list[float]]:
    """Return the memory of runs with fewer rows, in each fifth of their time."""
    found = {}
    for count in (rows // 10, 3 * rows // 10):
        source = folder / f"{count}.parquet"
        _write_input(source, count)
        found[f"{count:,}"] = _run(run(source, f"{count}-scored.parquet")).memory_mib
    return found


def measure(rows: int, kills: int) -> dict[str, Any]:
    """Measure all figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "in.parquet"
        _write_input(source, rows)

        def run(file: Path, out: str) -> list[str]:
            target = str(folder / out) + ("/" if out.endswith("parts") else "")
            return command_of(file, target, rows_per_part=_ROWS_PER_PART, instant=True)

        plain = _run([sys.executable, "-c", _PLAIN, str(source), str(folder / "plain.parquet")])
        one = _run(run(source, "one.parquet"))
        parts = _run(run(source, "in-parts"))
        memory = _memory_by_rows(folder, rows, run) | {f"{rows:,}": one.memory_mib}
        done = kill_at_random_moments(
            run(source, "killed.parquet"),
            folder / "killed.parquet.parts",
            kills=kills,
            most_s=1.5 * one.took_s / max(1, kills),
            seed=11,
        )
        if _digest(folder / "one.parquet") != _digest(folder / "killed.parquet"):
            raise OutputDiffers
        same = parquet.ParquetFile(folder / "one.parquet").metadata.num_rows
        if same != rows:
            raise OutputDiffers(f"{same} rows for {rows}")
    return {
        "rows": rows,
        "plain_rows_per_s": round(rows / plain.took_s),
        "file_rows_per_s": round(rows / one.took_s),
        "folder_rows_per_s": round(rows / parts.took_s),
        "file_over_plain": round(plain.took_s / one.took_s, 3),
        "folder_over_plain": round(plain.took_s / parts.took_s, 3),
        "plain_cpu_us_a_row": round(1e6 * plain.cpu_s / rows, 2),
        "file_cpu_us_a_row": round(1e6 * one.cpu_s / rows, 2),
        "folder_cpu_us_a_row": round(1e6 * parts.cpu_s / rows, 2),
        "plain_memory_mib": plain.largest_mib,
        "file_memory_mib": one.largest_mib,
        "folder_memory_mib": parts.largest_mib,
        "file_memory_mib_by_rows": memory,
        "kills": done,
        "same_bytes_after_kills": True,
    }


def main() -> None:
    """Measure and print."""
    parser = argument_parser(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    show(measure(options.rows, options.kills), as_json=options.json)


if __name__ == "__main__":
    main()
