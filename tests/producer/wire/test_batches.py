"""The form of batches in Redis, and of the header that names one."""

from __future__ import annotations

import pytest

from sentq.contract import BATCH_HEADER
from sentq.wire.batches import (
    BatchPlace,
    is_batch_id,
    packed_ids,
    place_in,
    unpacked_ids,
    unpacked_places,
)
from sentq.wire.ids import new_job_ids

BATCH = "0192f0c1-7d3c-7aaa-8bbb-0123456789ab"


def test_packed_ids_are_read_as_they_were() -> None:
    ids = new_job_ids(20)
    packed = packed_ids(ids)
    assert len(packed) == 16 * len(ids)
    assert unpacked_ids(packed) == ids
    assert unpacked_ids(packed + b"cut off") == ids


def test_packed_places_are_read_as_they_were() -> None:
    assert list(unpacked_places(b"\0\0\0\1\0\x0f\x42\x3f\0\0")) == [1, 999_999]


def test_a_header_names_a_place() -> None:
    assert place_in({BATCH_HEADER: f"{BATCH}:17"}) == BatchPlace(BATCH, 17)
    assert str(BatchPlace(BATCH, 17)) == f"{BATCH}:17"


@pytest.mark.parametrize(
    "value",
    [
        *(None, 17, "", BATCH, f"{BATCH}:", f"{BATCH}:-1", f"{BATCH}:1e3", f"{BATCH}:\u0661"),
        *(f"{BATCH}:12345678", f"{BATCH}:1\n", f"x{BATCH}:1", ["list"], f"{BATCH.upper()}:1"),
    ],
)
def test_other_values_of_the_header_name_none(value: object) -> None:
    assert place_in({BATCH_HEADER: value}) is None
    assert place_in({}) is None


@pytest.mark.parametrize("value", ["", "*", BATCH + "\n", BATCH[:-1], 5, None])
def test_other_strings_are_no_batch_ids(value: object) -> None:
    assert is_batch_id(BATCH)
    assert not is_batch_id(value)
