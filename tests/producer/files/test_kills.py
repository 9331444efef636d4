"""A run that is killed at random moments gives the bytes of one that was not."""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.support.files.kills import command_of, kill_at_random_moments

#: How often each run is killed: SENTQ_TEST_KILLS says another number.
_KILLS: Final = int(os.environ.get("SENTQ_TEST_KILLS", "5"))

_ROWS: Final = 15_000
_ROWS_PER_PART: Final = 500


def _digest(out: Path) -> str:
    files = sorted(out.glob("part-*")) if out.is_dir() else [out]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "out"), [("csv", "csv.gz"), ("parquet", "parquet"), ("csv", "")]
)
def test_kills_at_random_moments_change_no_byte(source: str, out: str, tmp_path: Path) -> None:
    texts = [("good", "bad", "")[n % 3] + f" day {n}" for n in range(_ROWS)]
    file = tmp_path / f"in.{source}"
    if source == "csv":
        file.write_text("id,text\n" + "".join(f"{n},{text}\n" for n, text in enumerate(texts)))
    else:
        parquet.write_table(pa.table({"id": range(_ROWS), "text": texts}), file)
    whole, killed = (
        f"{tmp_path}/{name}.{out}" if out else f"{tmp_path}/{name}.{source}s/"
        for name in ("whole", "killed")
    )
    if not out:
        for folder in (whole, killed):
            Path(folder).mkdir()
    run = command_of(file, whole, rows_per_part=_ROWS_PER_PART)
    subprocess.run(run, check=True, stderr=subprocess.DEVNULL)
    count = kill_at_random_moments(
        command_of(file, killed, rows_per_part=_ROWS_PER_PART),
        Path(killed.rstrip("/") + ".parts"),
        kills=_KILLS,
        most_s=2 / max(1, _KILLS),
        seed=len(out),
    )
    assert count >= 1
    assert _digest(Path(killed)) == _digest(Path(whole))
