"""What the fault tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.forks import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Starts workers in a tenth of a second."""
    with Nursery() as nursery:
        yield nursery
