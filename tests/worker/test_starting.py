"""What makes a worker start faster."""

from __future__ import annotations

import gc

import pytest

from sentq_worker.starting import without_garbage_collection


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
