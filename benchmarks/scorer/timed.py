"""A scorer that also records which process has scored each row, and when."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, Final

from sentq_worker import Scorer

__all__ = ["RECORDED", "TimedScorer"]

#: The columns that it adds beside those of the scorer, with their types as Spark names them.
RECORDED: Final = {"process_id": "long", "begun_s": "double", "ended_s": "double"}


class TimedScorer:
    """Scores batches as `Scorer` does. The time to load the model is not recorded.

    Args:
        options: Those of `Scorer`.
    """

    def __init__(self, **options: Any) -> None:
        self.scorer = Scorer(**options)

    def __call__(self, batch: Any) -> Any:
        """Score a Table of pyarrow, a DataFrame of pandas, or an iterator of them."""
        if isinstance(batch, Iterator):
            return map(self, batch)
        if len(batch) > 0:
            _ = self.scorer.info
        begun_s = time.time()
        scored = self.scorer(batch)
        recorded = (os.getpid(), begun_s, time.time())
        for name, value in zip(RECORDED, recorded, strict=True):
            scored = _with_constant(scored, name, value)
        return scored


def _with_constant(batch: Any, name: str, value: float) -> Any:
    if hasattr(batch, "append_column"):
        import pyarrow as pa

        return batch.append_column(name, pa.array([value] * len(batch)))
    return batch.assign(**{name: value})
