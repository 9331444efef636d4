"""Decompression bombs: a few kilobytes that inflate to more memory than a worker has."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.corpus.messages import message, raw
from tests.corpus.runner import CorpusRunner
from tests.support.celery.site import Site, run_site

BLOCK: Final = bytes(1024 * 1024)
BLOCKS: Final = 160

PEAK_MEMORY_RESET: Final = Path("/proc/self/clear_refs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with run_site(tmp_path_factory.mktemp("site")) as site:
        yield site


def _peak_memory_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def _zlib_bomb() -> bytes:
    compressor = zlib.compressobj(9)
    parts = [compressor.compress(BLOCK) for _ in range(BLOCKS)]
    return b"".join((*parts, compressor.flush()))


def _bzip2_bomb() -> bytes:
    return bz2.compress(BLOCK) * BLOCKS


def _lzma_bomb() -> bytes:
    return lzma.compress(BLOCK) * BLOCKS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bomb", "changes"),
    [
        (_zlib_bomb, {"headers": {"compression": "application/x-gzip"}}),
        (_bzip2_bomb, {"headers": {"compression": "application/x-bz2"}}),
        (_lzma_bomb, {"headers": {"compression": "application/x-lzma"}}),
        (_zlib_bomb, {"content_type": "application/data", "content_encoding": "zlib_codec"}),
        (_bzip2_bomb, {"content_type": None, "content_encoding": "bz2"}),
    ],
    ids=["zlib", "bzip2", "lzma", "zlib as an encoding", "bzip2 as an encoding"],
)
def test_a_decompression_bomb_is_not_inflated(
    site: Site, bomb: Callable[[], bytes], changes: dict[str, Any]
) -> None:
    changed = message(bomb(), **changes)
    if not PEAK_MEMORY_RESET.exists():
        pytest.skip("only Linux can reset the peak memory of a process")
    pid = site.worker.process.pid
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before_kb = _peak_memory_kb(pid)
    (result,) = CorpusRunner(site.redis, site.worker).run([raw(changed)])
    assert result.dead_letters
    assert result.error == "InvalidInput"
    assert _peak_memory_kb(pid) - before_kb < 64 * 1024
