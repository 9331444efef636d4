"""The demo: 200 reviews of our own through the queue, a table, the totals, and how to do it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files

import orjson
from rich.console import Console

from sentq.client import Client
from sentq.contract import Outcome, Prediction
from sentq.rendering import Table, progress_bar

__all__ = ["Review", "load_reviews", "run_demo"]

_LESSON = """\
The same in three lines of Python, wherever SENTQ_BROKER_URL says where Redis is:

    from sentq import Client
    for outcome in Client().map(["What a lovely day!", "Never again."]):
        print(outcome)
"""


@dataclass(frozen=True, slots=True)
class Review:
    """One review of the demo. `expect` is the label that a person gives it; None where the
    model promises nothing: an empty text, another language, sarcasm."""

    id: str
    text: str
    expect: str | None


def load_reviews() -> list[Review]:
    """The 200 reviews that come with the package, in order."""
    lines = files("sentq").joinpath("data", "reviews.jsonl").read_text("utf-8").splitlines()
    return [Review(**orjson.loads(line)) for line in lines]


def run_demo(client: Client, *, notes: Console) -> None:
    """Score the reviews and show them on standard output; progress goes to `notes`."""
    reviews = load_reviews()
    started = time.perf_counter()
    outcomes: list[Outcome] = []
    with progress_bar(notes, disable=False) as progress:
        task = progress.add_task(f"scoring {len(reviews)} reviews", total=len(reviews))
        texts = [review.text for review in reviews]
        for outcome in client.map(texts, texts_per_job=8):
            outcomes.append(outcome)
            progress.advance(task)
    elapsed_s = time.perf_counter() - started
    table = Table(sys.stdout)
    for number, (review, outcome) in enumerate(zip(reviews, outcomes, strict=True), start=1):
        table.show(number, review.text, outcome)
    print(_totals(reviews, outcomes, elapsed_s))  # noqa: T201 - the demo's output
    print(_LESSON)  # noqa: T201


def _totals(reviews: list[Review], outcomes: list[Outcome], elapsed_s: float) -> str:
    predictions = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
    counts = Counter(prediction.label for prediction in predictions)
    judged = [
        isinstance(outcome, Prediction) and outcome.label == review.expect
        for review, outcome in zip(reviews, outcomes, strict=True)
        if review.expect is not None
    ]
    labels = ", ".join(f"{count} {label}" for label, count in counts.most_common())
    windows = max((prediction.windows for prediction in predictions), default=0)
    return (
        f"\n{len(outcomes)} outcomes in {elapsed_s:.1f} s: {labels}, "
        f"{len(outcomes) - len(predictions)} with an error.\n"
        f"{sum(judged)} of the {len(judged)} that a person labelled agree with the person. "
        f"The longest review was read in {windows} windows.\n"
    )
