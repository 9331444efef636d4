"""Each rule that joins the windows of a text, on long texts whose label is known.

    python -m benchmarks.windows FILE... [--json] [--window-tokens N] [--most-words N]

A file has a JSON object on each line (`.gz` too), with `text` and `label`: `negative` or
`positive`; others are left out, as are texts of one window. Each window is scored once, with the
bundled model, and the rules join the same probabilities. For each rule: the share of texts with the
right label, the area under the curve of positive and negative texts by sentiment, the log loss of
the right label, and the share of right sides among mixed texts: one window is clearly positive, and
another one clearly negative.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final, NamedTuple, get_args

from benchmarks.figures import argument_parser, show
from sentq.contract import Limits
from sentq_worker.inference.model import LocalEngine
from sentq_worker.inference.model_files import find_model
from sentq_worker.scoring.batcher import Batcher
from sentq_worker.scoring.labels import Labels
from sentq_worker.scoring.windows import TextTokenizer, TextTokens, join
from sentq_worker.settings import JoinRule, WorkerSettings

#: The labels of texts, by the side that they are on.
_SIDES: Final = {"negative": -1, "positive": 1}

#: The least sentiment, in size, of a window that is clearly on one side.
_CLEAR: Final = 0.3

_LEAST_PROBABILITY: Final = 1e-6


class ScoredText(NamedTuple):
    """A text of several windows.

    Attributes:
        label: Its label.
        text: Its windows.
        rows: The probabilities of each of them.
    """

    label: str
    text: TextTokens
    rows: Sequence[Sequence[float]]


def long_rows(files: Sequence[Path], most_words: int) -> Iterator[tuple[str, str]]:
    """Yield text and label of the rows of files, of texts with at most so many words."""
    for file in files:
        content = file.read_bytes()
        lines = (gzip.decompress(content) if file.suffix == ".gz" else content).splitlines()
        for row in map(json.loads, lines):
            if row["label"] in _SIDES and len(row["text"].split()) <= most_words:
                yield row["text"], row["label"]


def score_windows(
    engine: LocalEngine, rows: Sequence[tuple[str, str]], window_tokens: int | None
) -> list[ScoredText]:
    """Return the rows that have several windows, scored."""
    settings = WorkerSettings.load()
    tokenizer = TextTokenizer(
        engine.tokenizer,
        window_tokens=window_tokens or engine.window_tokens,
        overlap_tokens=settings.window_overlap_tokens,
        special_tokens=engine.special_tokens,
    )
    texts = tokenizer.tokenise([text for text, _ in rows])
    several = [
        (label, text) for (_, label), text in zip(rows, texts, strict=True) if len(text.windows) > 1
    ]
    windows = [*chain.from_iterable(text.windows for _, text in several)]
    found = iter(Batcher(engine, batch_tokens=settings.batch_tokens).predict(windows))
    scored = []
    for label, text in several:
        own = [*islice(found, len(text.windows))]
        scored.append(ScoredText(label, text, [row for row in own if isinstance(row, list)]))
    return scored


def figures_of(rule: JoinRule, scored: Sequence[ScoredText], labels: Labels) -> dict[str, float]:
    """Return what a rule makes of scored texts."""
    right = mixed = right_of_mixed = 0
    loss = 0.0
    sentiments: dict[str, list[float]] = {label: [] for label in _SIDES}
    for each in scored:
        joined = join(each.text, each.rows, rule=rule, sentiment=labels.sentiment)
        sentiment = labels.sentiment(joined) or 0.0
        sentiments[each.label].append(sentiment)
        own = labels.names.index(each.label)
        right += max(joined) == joined[own]
        loss -= math.log(max(joined[own], _LEAST_PROBABILITY))
        sides = [labels.sentiment(row) or 0.0 for row in each.rows]
        if max(sides) > _CLEAR and min(sides) < -_CLEAR:
            mixed += 1
            right_of_mixed += sentiment * _SIDES[each.label] > 0
    pairs = [(low, high) for low in sentiments["negative"] for high in sentiments["positive"]]
    ordered = sum((low < high) + (low == high) / 2 for low, high in pairs)
    return {
        f"{rule}_right": round(right / len(scored), 4),
        f"{rule}_auc": round(ordered / max(1, len(pairs)), 4),
        f"{rule}_log_loss": round(loss / len(scored), 4),
        f"{rule}_right_of_mixed": round(right_of_mixed / max(1, mixed), 4),
        "mixed_texts": mixed,
    }


def main() -> None:
    """Print the figures: one per line, or one JSON object."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="rows with text and label")
    add("--window-tokens", type=int, help="tokens of a window (the model's own limit)")
    add("--most-words", type=int, default=Limits().chars_per_text, help="leave out longer texts")
    options = parser.parse_args()
    engine = LocalEngine(find_model(None), threads=None)
    rows = [*long_rows(options.files, options.most_words)]
    scored = score_windows(engine, rows, options.window_tokens)
    labels = Labels(engine.info.labels)
    figures: dict[str, object] = {
        "texts": len(scored),
        "windows": sum(len(each.rows) for each in scored),
    }
    for rule in get_args(JoinRule):
        figures |= figures_of(rule, scored, labels)
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
