"""Prefetching the next batch while a device computes, beside preprocessing batches in turn.

    python -m benchmarks.ahead [--json] [--texts N] [--device-tps N]

Texts, tokenizer and thread are those of a worker. The device is simulated: each batch takes as long
as on a device with this rate, and needs no processor time, as on a GPU. Both ways score the same
batches by turns; figures are medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from benchmarks.figures import argument_parser, show
from benchmarks.texts import make_texts
from sentq.contract import Limits
from sentq_model import folder
from sentq_worker.engine.base import EngineInfo, Window
from sentq_worker.scoring.preprocess import Preprocessor
from sentq_worker.scoring.scorer import EngineScorer
from sentq_worker.scoring.windows import TextTokenizer

#: As in a worker: 16 characters for each token of a model batch.
_BATCH_CHARS: Final = 32_768

_REPEATS: Final = 5


class SimulatedDevice:
    """An engine that sleeps for as long as a device with this rate would compute."""

    pads = False
    info = EngineInfo("clock", None, "clock", "none", ("negative", "positive"))

    def __init__(self, windows_per_s: float) -> None:
        self._windows_per_s = windows_per_s

    def predict(self, batch: Sequence[Window]) -> list[list[float]]:
        time.sleep(len(batch) / self._windows_per_s)
        return [[0.5, 0.5] for _ in batch]

    def predict_precisely(self, window: Window) -> list[float]:
        return self.predict([window])[0]


def batches_of(texts: Sequence[str]) -> list[list[list[str]]]:
    """Return jobs of one text, in batches as a worker forms them."""
    batches: list[list[list[str]]] = [[]]
    chars = 0
    for text in texts:
        chars += len(text)
        if batches[-1] and chars > _BATCH_CHARS:
            batches.append([])
            chars = len(text)
        batches[-1].append([text])
    return batches


def time_s(scorer: EngineScorer, batches: Sequence[Sequence[list[str]]]) -> float:
    """Return the time to score the batches, each as soon as the one before is done."""
    with ThreadPoolExecutor(1) as engine:
        started = time.perf_counter()
        for now, then in pairwise([*batches, []]):
            scored = engine.submit(scorer.score, now)
            scorer.prefetch(then)
            scored.result()
        return time.perf_counter() - started


def measure(texts: Sequence[str], *, device_tps: float) -> dict[str, float]:
    """Return texts per second: preprocessing alone, in turn with scoring, and prefetching."""
    tokenizer = TextTokenizer(
        Tokenizer.from_file(str(Path(folder()) / "tokenizer.json")),
        window_tokens=512,
        overlap_tokens=128,
        special_tokens=2,
    )
    batches = batches_of(texts)
    in_turn, ahead = (
        EngineScorer(
            SimulatedDevice(device_tps),
            tokenizer,
            limits=Limits(),
            batch_tokens=_BATCH_CHARS,
            prefetches=prefetches,
        )
        for prefetches in (False, True)
    )
    reader = Preprocessor(tokenizer, Limits())
    times_s: dict[str, list[float]] = {"read": [], "in_turn": [], "ahead": []}
    for _ in range(_REPEATS):
        started = time.perf_counter()
        for one in batches:
            reader.preprocess([*chain.from_iterable(one)])
        times_s["read"].append(time.perf_counter() - started)
        times_s["in_turn"].append(time_s(in_turn, batches))
        times_s["ahead"].append(time_s(ahead, batches))
    rates = {f"{name}_tps": len(texts) / statistics.median(each) for name, each in times_s.items()}
    return {
        "texts": len(texts),
        "device_tps": device_tps,
        **{name: round(rate, 1) for name, rate in rates.items()},
        "ahead_over_in_turn": round(rates["ahead_tps"] / rates["in_turn_tps"], 3),
    }


def main() -> None:
    """Print the figures: one per line, or one JSON object."""
    parser = argument_parser(__doc__)
    parser.add_argument("--texts", type=int, default=10_000, help="texts per turn")
    parser.add_argument(
        "--device-tps", type=float, default=10_000, help="texts per second it scores"
    )
    options = parser.parse_args()
    figures = measure(make_texts(options.texts), device_tps=options.device_tps)
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
