"""A scripted engine, whose scores follow from the tokens and which fails on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sentq_worker.engine.base import EngineInfo, Window

__all__ = ["ScriptedEngine", "window"]


def window(*token_ids: int) -> Window:
    """Return a window of these tokens."""
    return Window(list(token_ids), own_tokens=len(token_ids))


class ScriptedEngine:
    """Scores each window by its tokens alone, and records the batches.

    Args:
        fails: Whether a batch with this window raises an error.
        row: Returns the probabilities of a window.
        precise_row: Returns them in full precision; the default is `row`.
        pads: Whether the cost of a batch depends on its longest window.
    """

    def __init__(
        self,
        *,
        fails: Callable[[Window], bool] = lambda _: False,
        row: Callable[[Window], list[float]] = lambda w: [w.token_ids[0] / 1000, 0.5],
        precise_row: Callable[[Window], list[float]] | None = None,
        pads: bool = True,
    ) -> None:
        self._fails = fails
        self._row = row
        self._precise_row = precise_row or row
        self.pads = pads
        self.batches: list[list[Window]] = []
        self.info = EngineInfo(
            model="scripted",
            revision=None,
            backend="test",
            dtype="none",
            labels=("negative", "positive"),
        )

    def predict(self, batch: Sequence[Window]) -> list[list[float]]:
        self.batches.append(list(batch))
        if any(self._fails(each) for each in batch):
            raise RuntimeError("CANARY scripted failure")
        return [self._row(each) for each in batch]

    def predict_precisely(self, window: Window) -> list[float]:
        return self._precise_row(window)
