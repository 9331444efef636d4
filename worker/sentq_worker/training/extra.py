"""The extra `training`: libraries that only training and evaluation need."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sentq_worker.training.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["training_extra"]


@contextmanager
def training_extra() -> Iterator[None]:
    """Translate a failed import of a library of the extra.

    Raises:
        MissingExtra: A library that is imported within the context is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f'{error.name} is not installed, and this needs it: pip install "sentq[training]"'
        ) from error
