"""Real memory shortage: a process that only has memory for small batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_PROGRAM = """
import resource, sys
from sentq_worker.scoring.batcher import Batcher
from sentq_worker.engine.base import Window
from sentq_worker.inference.model_files import find_model
from sentq_worker.inference.model import LocalEngine

engine = LocalEngine(find_model(sys.argv[1]), device="cpu", threads=1)
windows = [Window([2] + [5 + i % 50] * 58 + [3], 58) for i in range(6000)]
few = Batcher(engine, batch_tokens=6000).predict(windows[:100])
with open("/proc/self/statm") as statm:
    in_flight_bytes = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_flight_bytes + 150_000_000, resource.RLIM_INFINITY))
batcher = Batcher(engine, batch_tokens=1_000_000)
rows = batcher.predict(windows)
largest = max(abs(a - b) for row, known in zip(rows, few) for a, b in zip(row, known))
print(sum(isinstance(row, list) for row in rows), largest < 1e-5, batcher.batch_tokens)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and limits the address space")
def test_a_batch_too_large_for_memory_is_scored_in_smaller_ones(tiny_model: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tiny_model)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        # Freed memory is returned at once. By default glibc keeps it, fragmented, and the limit
        # includes it.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "failed" not in run.stderr
    scored, agree, batch_tokens = run.stdout.split()
    assert (scored, agree) == ("6000", "True")
    assert 10_000 < int(batch_tokens) < 200_000
