"""The demo: score 200 bundled reviews, and show a table, totals and the code to do the same."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import orjson
from rich.console import Console

from sentq.client import Client
from sentq.contract import Outcome, Prediction
from sentq.rendering import Table, progress_bar

__all__ = ["Review", "load_reviews", "run_demo"]

_EXAMPLE_TEXTS: Final = ("What a lovely day!", "I want my money back.")

_EXAMPLE_CODE: Final = f"""\
The same in three lines of Python, if SENTQ_BROKER_URL has the address of Redis:

    from sentq import Client
    for outcome in Client().map({list(_EXAMPLE_TEXTS)!r}):
        print(outcome.label, round(outcome.score, 2))

It prints:
"""


@dataclass(frozen=True, slots=True)
class Review:
    """A review of the demo.

    Attributes:
        id: Its id.
        text: Its text.
        expect: The label that a person gave it; None if no label is expected of the model: for an
            empty text, another language, sarcasm.
    """

    id: str
    text: str
    expect: str | None


def load_reviews() -> list[Review]:
    """Return the 200 bundled reviews in order."""
    lines = files("sentq").joinpath("data", "reviews.jsonl").read_text("utf-8").splitlines()
    return [Review(**orjson.loads(line)) for line in lines]


def run_demo(client: Client, *, notes: Console) -> None:
    """Score the reviews and write them to standard output; progress goes to `notes`."""
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
    print(_EXAMPLE_CODE)  # noqa: T201
    for outcome in client.map(_EXAMPLE_TEXTS):
        if isinstance(outcome, Prediction):
            print(f"    {outcome.label} {round(outcome.score, 2)}")  # noqa: T201
    notes.print("`sentq dev --gateway` starts the same, and serves it over HTTP.", markup=False)


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
        f"{sum(judged)} of the {len(judged)} reviews with a human label have the same label. "
        f"The longest review was read in {windows} windows.\n"
    )
