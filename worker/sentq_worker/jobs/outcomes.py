"""The results of jobs: what the engine gave for a batch, and what becomes a job's result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from sentq.contract import Outcome, Prediction
from sentq.errors import OverLimit
from sentq_worker.engine.base import EngineUnavailable
from sentq_worker.engine.provider import ProviderReply

__all__ = ["JobResult", "OutcomeFields", "ScoredBatch", "SealResult"]


class OutcomeFields(TypedDict):
    """The fields of a `JobOutcome`, as they are stored.

    Not the model itself: it would be validated and dumped again for each job, which takes longer
    than everything else about a small one. A test reads the fields as a `JobOutcome`.
    """

    outcomes: list[dict[str, object]]
    model: str
    revision: str | None
    backend: str
    dtype: str
    attempts: int
    queued_ms: float | None
    inference_ms: float


#: How a job ends: with its outcomes, or with an error.
JobResult = OutcomeFields | Exception

#: Returns the outcomes of a job, by its id, as they are stored: encrypted, if the worker does that.
SealResult = Callable[[str, OutcomeFields], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """What the engine gave for a batch of jobs: a reply for each, in order."""

    replies: Sequence[ProviderReply]
    started_at_s: float
    inference_ms: float

    def outcomes(
        self, jobs: Iterable[tuple[float | None, int]]
    ) -> Iterator[OutcomeFields | OverLimit | EngineUnavailable]:
        """Yield the outcomes of each job, or the limit that it exceeds, or why it has none yet.

        Args:
            jobs: When each job of the batch was sent, in Unix milliseconds, and how many times it
                was tried, in order.
        """
        started_at_ms = self.started_at_s * 1000
        for (sent_ms, attempts), reply in zip(jobs, self.replies, strict=True):
            if isinstance(reply, (EngineUnavailable, OverLimit)):
                yield reply
                continue
            info = reply.info
            yield {
                "outcomes": [_stored(outcome) for outcome in reply.outcomes],
                "model": info.model,
                "revision": info.revision,
                "backend": info.backend,
                "dtype": info.dtype,
                "attempts": attempts,
                "queued_ms": None if sent_ms is None else max(0.0, started_at_ms - sent_ms),
                "inference_ms": self.inference_ms,
            }


def _stored(outcome: Outcome) -> dict[str, object]:
    """Return the fields of an outcome that are stored.

    Without those that a reader takes as None if they are missing: nulls for languages, parts and
    models would make the outcome of a worker that has none of them a third larger.
    """
    # Read from the dictionary, and written out: attributes of a model of pydantic, and a loop over
    # names, take longer, and a batch has thousands of texts.
    fields = outcome.__dict__
    if not isinstance(outcome, Prediction):
        return fields
    stored: dict[str, object] = {
        "label": fields["label"],
        "score": fields["score"],
        "scores": fields["scores"],
        "sentiment": fields["sentiment"],
        "tokens": fields["tokens"],
        "windows": fields["windows"],
    }
    if fields["language"] is not None:
        stored["language"] = fields["language"]
        stored["language_confidence"] = fields["language_confidence"]
        stored["language_supported"] = fields["language_supported"]
    if fields["model"] is not None:
        stored["model"], stored["revision"] = fields["model"], fields["revision"]
    if fields["parts"] is not None:
        stored["parts"] = [part.__dict__ for part in fields["parts"]]
        stored["mixed"] = fields["mixed"]
    return stored
