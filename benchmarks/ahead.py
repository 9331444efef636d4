"""Reading the next round while a device computes, beside reading each when its turn comes.

    python -m benchmarks.ahead [--json] [--texts N] [--device-tps N]

The texts, the tokenizer and the thread are the worker's own. The device is a clock: it answers as
late as one would that scores so many texts a second, and leaves the processor alone meanwhile, as
a GPU does. Both ways score the same rounds in turns; figures are medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from benchmarks.figures import show
from benchmarks.texts import make_texts
from sentq.contract import Limits
from sentq_model import folder
from sentq_worker.engine.base import EngineInfo, Window
from sentq_worker.scoring.preprocess import Preprocessor
from sentq_worker.scoring.scorer import Scorer
from sentq_worker.scoring.windows import TextTokenizer

#: As in a worker: 16 characters for each token of a batch.
_ROUND_CHARS: Final = 32_768

_REPEATS: Final = 5


class Clock:
    """A device that takes its time."""

    pads = False
    info = EngineInfo("clock", None, "clock", "none", ("negative", "positive"))

    def __init__(self, windows_per_s: float) -> None:
        self._windows_per_s = windows_per_s

    def predict(self, batch: Sequence[Window]) -> list[list[float]]:
        time.sleep(len(batch) / self._windows_per_s)
        return [[0.5, 0.5] for _ in batch]

    def predict_precisely(self, window: Window) -> list[float]:
        return self.predict([window])[0]


def rounds_of(texts: Sequence[str]) -> list[list[list[str]]]:
    """Jobs of one text, in rounds as a worker makes them."""
    rounds: list[list[list[str]]] = [[]]
    chars = 0
    for text in texts:
        chars += len(text)
        if rounds[-1] and chars > _ROUND_CHARS:
            rounds.append([])
            chars = len(text)
        rounds[-1].append([text])
    return rounds


def time_s(scorer: Scorer, rounds: Sequence[Sequence[list[str]]]) -> float:
    """How long it takes to score these, each as soon as the last one is done."""
    with ThreadPoolExecutor(1) as engine:
        started = time.perf_counter()
        for now, then in pairwise([*rounds, []]):
            scored = engine.submit(scorer.score, now)
            scorer.prefetch(then)
            scored.result()
        return time.perf_counter() - started


def measure(texts: Sequence[str], *, device_tps: float) -> dict[str, float]:
    """Texts a second: read only, read in turn, read ahead."""
    tokenizer = TextTokenizer(
        Tokenizer.from_file(str(Path(folder()) / "tokenizer.json")),
        window_tokens=512,
        overlap_tokens=128,
        special_tokens=2,
    )
    rounds = rounds_of(texts)
    in_turn, ahead = (
        Scorer(
            Clock(device_tps),
            tokenizer,
            limits=Limits(),
            batch_tokens=_ROUND_CHARS,
            prefetches=prefetches,
        )
        for prefetches in (False, True)
    )
    reader = Preprocessor(tokenizer, Limits())
    times_s: dict[str, list[float]] = {"read": [], "in_turn": [], "ahead": []}
    for _ in range(_REPEATS):
        started = time.perf_counter()
        for one in rounds:
            reader.read([*chain.from_iterable(one)])
        times_s["read"].append(time.perf_counter() - started)
        times_s["in_turn"].append(time_s(in_turn, rounds))
        times_s["ahead"].append(time_s(ahead, rounds))
    rates = {f"{name}_tps": len(texts) / statistics.median(each) for name, each in times_s.items()}
    return {
        "texts": len(texts),
        "device_tps": device_tps,
        **{name: round(rate, 1) for name, rate in rates.items()},
        "ahead_over_in_turn": round(rates["ahead_tps"] / rates["in_turn_tps"], 3),
    }


def main() -> None:
    """Print the figures: a line each, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--texts", type=int, default=10_000, help="texts of a turn")
    parser.add_argument("--device-tps", type=float, default=10_000, help="the device's rate")
    options = parser.parse_args()
    figures = measure(make_texts(options.texts), device_tps=options.device_tps)
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
