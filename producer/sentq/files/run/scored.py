"""The loop of all runs: read chunks, score their texts, yield each chunk with its outcomes.

Texts are scored as one stream, so no worker waits at the end of a part. What is read ahead, and so
the memory, is bounded by the scoring's texts in flight and two chunks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sentq.contract import Outcome
from sentq.files.reading.chunks import Chunk
from sentq.files.run.scoring import TextScoring
from sentq.files.run.state import RunState
from sentq.files.run.watch import RunWatch

__all__ = ["scored_chunks"]

AnyChunk = TypeVar("AnyChunk", bound=Chunk)


def scored_chunks(
    chunks: Iterator[AnyChunk],
    state: RunState,
    open_scoring: Callable[[], TextScoring],
    watch: RunWatch,
) -> Iterator[tuple[AnyChunk, Sequence[Outcome]]]:
    """Yield chunks, each with the outcomes of all its rows.

    Args:
        chunks: The rows that are not written yet.
        state: What is written.
        open_scoring: Returns what scores the texts.
        watch: Is told of the progress.

    Raises:
        RunChanged: Another model has scored what is written.
        SentqError: What the chunks and the scoring raise.
    """
    pending: deque[AnyChunk] = deque()
    share = 0.0

    def texts() -> Iterator[object]:
        for chunk in chunks:
            pending.append(chunk)
            yield from chunk.texts

    outcomes: list[Outcome] = []
    for scored in open_scoring().score(texts()):
        state.check_model(scored.model)
        outcomes += scored.outcomes
        while pending and len(outcomes) >= (rows := len(pending[0].texts)):
            chunk = pending.popleft()
            yield chunk, outcomes[:rows]
            del outcomes[:rows]
            share = chunk.share or share
        watch.add(scored.outcomes, _share(share, pending, len(outcomes)))
    if pending or outcomes:
        raise RuntimeError(f"the scoring returned {len(outcomes)} outcomes for other texts")


def _share(before: float, pending: Sequence[Chunk], scored: int) -> float | None:
    """Return the share of the input that is scored.

    Args:
        before: The share that ends with the last part.
        pending: The chunks that are not scored as a whole.
        scored: How many rows of the first of them are scored.
    """
    if not pending:
        return before or None
    after = pending[0].share
    if after is None:
        return None
    return before + (after - before) * scored / max(1, len(pending[0].texts))
