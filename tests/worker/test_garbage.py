"""When garbage is collected: not during imports, and after messages of Celery by their size."""

from __future__ import annotations

import gc
import os
import platform
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentq_worker.garbage import CelerysGarbage, without_garbage_collection

MEGABYTE = 1024 * 1024


class Frame:
    """Stands in a cycle, as the frame of an error does."""

    def __init__(self) -> None:
        self.error = self


def test_garbage_is_not_collected_in_the_block_and_is_after_it() -> None:
    with without_garbage_collection():
        assert not gc.isenabled()
        with without_garbage_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_garbage_is_collected_after_an_error() -> None:
    with pytest.raises(ImportError), without_garbage_collection():
        raise ImportError
    assert gc.isenabled()


@pytest.fixture
def without_automatic_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.slow
@pytest.mark.usefixtures("without_automatic_collection")
@pytest.mark.parametrize(
    ("messages", "size_bytes"), [(1, 3 * MEGABYTE), (100, 1000)], ids=["one-large", "many-small"]
)
def test_cycles_are_collected_after_so_many_bytes_or_messages(
    messages: int, size_bytes: int
) -> None:
    garbage, cycle = CelerysGarbage(), weakref.ref(Frame())
    for _ in range(messages):
        garbage.add(size_bytes)
    assert cycle() is None


@pytest.mark.usefixtures("without_automatic_collection")
def test_nothing_is_collected_after_one_small_message() -> None:
    garbage, cycle = CelerysGarbage(), weakref.ref(Frame())
    garbage.add(1000)
    assert cycle() is not None


@pytest.mark.slow
@pytest.mark.usefixtures("without_automatic_collection")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_the_c_library_keeps_is_returned_after_many_messages() -> None:
    garbage = CelerysGarbage()
    blocks = [bytes(2000) for _ in range(50_000)]
    last = blocks[-1]  # It stays, so that the others lie between blocks in use.
    blocks.clear()
    before_mib = _resident_mib()
    for _ in range(10):
        garbage.add(3 * MEGABYTE)
    assert _resident_mib() < before_mib - 50
    assert last


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE
