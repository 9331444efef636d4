"""The engine beside the pipeline of Transformers: one run, one core, one thread, the same texts.

    python benchmarks/engine.py [--json] [--core N] [--repeats N] [--texts N]

The ways to score take turns, so that other work of the machine slows down all of them alike;
figures are medians over the turns. The time includes all steps from a string to its scores, with
tokenisation. The pipeline truncates texts beyond the model's window; the engine reads them whole.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before torch is imported: two OpenMP threads on one core are up to 20 times slower than one.
os.environ["OMP_NUM_THREADS"] = "1"
# Python searches the folder of a script first, where `queue` would hide the standard library's.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sentq_model
from benchmarks.figures import argument_parser, max_abs_diff
from benchmarks.texts import make_texts
from benchmarks.turns import take_turns
from sentq.contract import Limits, Prediction
from sentq_worker.providers.loading import load_scorer
from sentq_worker.scoring.scorer import EngineScorer
from sentq_worker.settings import WorkerSettings

Scores = list[list[float]]

_DEPTHS: Final = (8, 32, 128, 500)

#: Standard deviation of the difference of two logits in the bundled model.
_LOGIT_SPREAD: Final = 4.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, and the numbers of texts: the pipeline takes a second for eight texts."""

    folder: Path
    shared_texts: int
    depth_texts: int


def main() -> None:
    """Print the figures: a table, or one JSON object."""
    options = _options()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    _quieten()
    with tempfile.TemporaryDirectory() as folder:
        minilm = Subject(Path(sentq_model.folder()), shared_texts=options.texts, depth_texts=500)
        distilbert = Subject(_make_distilbert(Path(folder)), shared_texts=48, depth_texts=128)
        ceiling = {dtype: _ceiling_gflops(dtype) for dtype in ("float32", "bfloat16")}
        report = {
            "ceiling_gflops": ceiling,
            **_measure(minilm, ceiling, repeats=options.repeats),
            "distilbert_size": _measure(distilbert, ceiling, repeats=options.repeats),
        }
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        _show_table(report)


def _options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--core", type=int, default=_last_core(), help="the core to use (%(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way (%(default)s)")
    parser.add_argument(
        "--texts", type=int, default=192, help="texts of the comparison, at most 500 (%(default)s)"
    )
    return parser.parse_args()


def _last_core() -> int:
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def _quieten() -> None:
    from transformers.utils import logging

    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _make_distilbert(folder: Path) -> Path:
    """Write a model of DistilBERT's size: random layers, and the bundled model's tokenizer.

    Its head reads the direction in which texts differ most, as a trained head does. A random head
    would read mostly what is equal in all texts. The rounding of bf16 is relative to the whole, and
    would be a sixteenth of the remaining difference, which is not so for trained models.
    """
    import torch
    from transformers import (
        AutoTokenizer,
        DistilBertConfig,
        DistilBertForSequenceClassification,
    )

    torch.manual_seed(0)
    config = DistilBertConfig(
        id2label={0: "negative", 1: "positive"}, label2id={"negative": 0, "positive": 1}
    )
    model = DistilBertForSequenceClassification(config).eval()
    tokenizer = AutoTokenizer.from_pretrained(sentq_model.folder())
    with torch.inference_mode():
        _fit_head(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _fit_head(model: Any, tokenizer: Any) -> None:
    """Set the head to the first principal component of the first tokens of other texts.

    It is scaled to the logits of the bundled model.
    """
    import torch

    texts = [text for text in make_texts(80, seed=1) if len(text) < 300]
    first = torch.cat(
        [
            model.distilbert(**tokenizer(text, return_tensors="pt")).last_hidden_state[:, 0]
            for text in texts
        ]
    )  # (texts, H)
    mean = first.mean(0)
    direction = torch.linalg.svd(first - mean, full_matrices=False).Vh[0]
    direction /= ((first - mean) @ direction).std()
    for linear in (model.pre_classifier, model.classifier):
        linear.weight.zero_()
        linear.bias.zero_()
    # Both signs, because of the ReLU between the two layers.
    for row, sign in enumerate((1.0, -1.0)):
        model.pre_classifier.weight[row] = sign * direction
        model.pre_classifier.bias[row] = -sign * (mean @ direction)
        model.classifier.weight[1 - row, row] = _LOGIT_SPREAD


def _measure(subject: Subject, ceiling: dict[str, float], *, repeats: int) -> dict[str, Any]:
    texts = make_texts(subject.depth_texts)
    shared = texts[: subject.shared_texts]
    fp32, bf16 = (_load(subject.folder, dtype) for dtype in ("float32", "bfloat16"))
    tps, scores = take_turns(
        {
            "pipeline_bs1": _pipeline(subject.folder, batch_size=1),
            "pipeline_bs32": _pipeline(subject.folder, batch_size=32),
            "fp32": lambda texts: _score(fp32, texts),
            "bf16": lambda texts: _score(bf16, texts),
        },
        shared,
        repeats=repeats,
        warm_up_texts=8,
    )
    whole = [index for index, windows in enumerate(_windows(fp32, shared)) if windows == 1]
    expected = [scores["pipeline_bs1"][index] for index in whole]
    of_fp32, of_bf16 = ([scores[name][index] for index in whole] for name in ("fp32", "bf16"))
    depths = {name: _tps_by_depth(each, texts) for name, each in (("fp32", fp32), ("bf16", bf16))}
    work_gflop = _work_gflop(subject.folder, texts)
    deepest = str(min(_DEPTHS[-1], len(texts)))
    return {
        "texts": len(shared),
        **{f"{name}_tps": round(rate, 2) for name, rate in tps.items()},
        "fp32_over_pipeline_bs32": round(tps["fp32"] / tps["pipeline_bs32"], 2),
        "fp32_over_pipeline_bs1": round(tps["fp32"] / tps["pipeline_bs1"], 2),
        "bf16_over_pipeline_bs32": round(tps["bf16"] / tps["pipeline_bs32"], 2),
        "bf16_over_pipeline_bs1": round(tps["bf16"] / tps["pipeline_bs1"], 2),
        "max_abs_diff_fp32": max_abs_diff(of_fp32, expected),
        "max_abs_diff_bf16": max_abs_diff(of_bf16, expected),
        "label_flips_bf16": _flips(of_bf16, expected) / len(expected),
        "tps_by_depth": depths["fp32"],
        "tps_by_depth_bf16": depths["bf16"],
        "gflops_share": round(
            work_gflop * depths["fp32"][deepest] / len(texts) / ceiling["float32"], 3
        ),
        "gflops_share_bf16": round(
            work_gflop * depths["bf16"][deepest] / len(texts) / ceiling["bfloat16"], 3
        ),
    }


def _load(folder: Path, dtype: str) -> EngineScorer:
    settings = WorkerSettings.load(model=str(folder), device="cpu", dtype=dtype, threads=1)
    return load_scorer(settings, Limits())


def _pipeline(folder: Path, *, batch_size: int) -> Callable[[Sequence[str]], Scores]:
    import transformers

    make: Any = transformers.pipeline
    classify = make("sentiment-analysis", model=str(folder), top_k=None, device="cpu")
    labels = list(classify.model.config.id2label.values())

    def score(texts: Sequence[str]) -> Scores:
        answers = classify(list(texts), batch_size=batch_size, truncation=True)
        by_label = [{each["label"]: each["score"] for each in answer} for answer in answers]
        return [[scores[label] for label in labels] for scores in by_label]

    return score


def _score(scorer: EngineScorer, texts: Sequence[str]) -> Scores:
    outcomes = scorer.score([list(texts)])[0]
    return [list(each.scores.values()) for each in outcomes if isinstance(each, Prediction)]


def _windows(scorer: EngineScorer, texts: Sequence[str]) -> list[int]:
    outcomes = scorer.score([list(texts)])[0]
    return [each.windows for each in outcomes if isinstance(each, Prediction)]


def _tps_by_depth(scorer: EngineScorer, texts: Sequence[str], repeats: int = 3) -> dict[str, float]:
    """Return texts per second by the number of texts per call."""
    depths = sorted({min(depth, len(texts)) for depth in _DEPTHS})
    times_s: dict[int, list[float]] = {depth: [] for depth in depths}
    for _ in range(repeats):
        for depth in depths:
            started = time.perf_counter()
            for begin in range(0, len(texts), depth):
                _score(scorer, texts[begin : begin + depth])
            times_s[depth].append(time.perf_counter() - started)
    return {
        str(depth): round(len(texts) / statistics.median(each), 2)
        for depth, each in times_s.items()
    }


def _flips(scores: Scores, expected: Scores) -> int:
    return sum(
        row.index(max(row)) != known.index(max(known))
        for row, known in zip(scores, expected, strict=True)
    )


def _ceiling_gflops(dtype: str) -> float:
    """Return the peak of this core on a large matrix product, with the faster of two libraries."""
    import torch

    wanted: torch.dtype = getattr(torch, dtype)
    size = 1536
    states, weight = (torch.randn(size, size, dtype=wanted) for _ in range(2))
    reorder: Any = torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001
    multiply: Any = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
    best_s = float("inf")
    with torch.inference_mode():
        packed = reorder(weight)
        for _ in range(7):
            for product in (
                lambda: torch.nn.functional.linear(states, weight),
                lambda: multiply(states, packed, None, "none", [], "none"),
            ):
                started = time.perf_counter()
                product()
                best_s = min(best_s, time.perf_counter() - started)
    return round(2 * size**3 / best_s / 1e9, 1)


def _work_gflop(folder: Path, texts: Sequence[str]) -> float:
    """Return the floating-point work to score the texts, without the work that the engine skips."""
    from tokenizers import Tokenizer
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    hidden: int = config.hidden_size
    layers: int = config.num_hidden_layers
    inner: int = getattr(config, "intermediate_size", 4 * hidden)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(512, stride=64)
    encodings = tokenizer.encode_batch(list(texts))
    lengths = [len(part.ids) for each in encodings for part in (each, *each.overflowing)]
    tokens = sum(lengths)
    linear = 8 * hidden**2 + 4 * hidden * inner  # per token and layer
    attention = sum(4 * length * length * hidden for length in lengths)  # per layer
    last = 4 * hidden**2 * tokens + linear * len(lengths) + 4 * hidden * tokens
    return ((layers - 1) * (linear * tokens + attention) + last) / 1e9


def _show_table(report: dict[str, Any]) -> None:
    small, large = report, report["distilbert_size"]
    print(f"{'':28}{'MiniLM size':>32}{'DistilBERT size':>32}")
    for key, value in large.items():
        print(f"{key:28}{_brief(small[key]):>32}{_brief(value):>32}")


def _brief(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{depth}:{rate:.0f}" for depth, rate in value.items())
    return f"{value:.3g}" if isinstance(value, float) and value < 1 else f"{value}"


if __name__ == "__main__":
    main()
