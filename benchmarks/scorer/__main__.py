"""Score the same texts with the bare engine, with `Scorer`, and in two processes of each library.

    python -m benchmarks.scorer [--json] [--texts N] [--dtype TYPE] [--model FOLDER] [WAY ...]

Each process computes in one thread. A rate is the number of texts over the time from the first
batch that begins to the last one that ends, in any process: without the start of a cluster and of
the models, which `total_s` has. `max_abs_diff` is the largest difference of a score from the bare
engine's, and `processes` counts those that have scored.
"""

from __future__ import annotations

import argparse
import os

# Before torch is imported, here and in the processes that are started from here.
os.environ["OMP_NUM_THREADS"] = "1"

import tempfile
import time
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute

from benchmarks.figures import argument_parser, show
from benchmarks.scorer.clusters import WAYS
from benchmarks.texts import make_texts
from sentq.contract import Limits, Outcome, Prediction
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings

#: Rows of a batch.
_BATCH_ROWS: Final = 256


def main() -> None:
    """Print the figures: one per line, or one JSON object."""
    options = _options()
    texts = make_texts(options.texts)
    table = pa.table({"number": range(len(texts)), "text": texts})
    scoring = {"model": options.model, "dtype": options.dtype, "device": "cpu", "threads": 1}
    expected, engine_tps, scoring["dtype"] = _bare_engine(scoring, texts)
    figures: dict[str, object] = {"texts": len(texts), "engine_tps": round(engine_tps, 1)}
    one_process_tps = 0.0
    # `datasets` keeps results of earlier runs, and reads no others.
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DATASETS_CACHE"] = folder
        for name in dict.fromkeys(["one_process", *(options.ways or WAYS)]):
            started = time.perf_counter()
            scored = WAYS[name](table, scoring, _BATCH_ROWS)
            figures[f"{name}_total_s"] = round(time.perf_counter() - started, 1)
            tps = len(scored) / _seconds(scored)
            figures[f"{name}_tps"] = round(tps, 1)
            if one_process_tps:
                figures[f"{name}_over_one_process"] = round(tps / one_process_tps, 2)
            else:
                one_process_tps = tps
                figures["one_process_over_engine"] = round(tps / engine_tps, 3)
            figures[f"{name}_processes"] = len(pa.compute.unique(scored["process_id"]))
            figures[f"{name}_max_abs_diff"] = _max_abs_diff(scored, expected)
            figures[f"{name}_other_labels"] = _other_labels(scored, expected)
    show(figures, as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"some of: {', '.join(WAYS)}")
    parser.add_argument("--texts", type=int, default=4000, help="texts (%(default)s)")
    parser.add_argument("--dtype", default="auto", help="dtype of the weights (%(default)s)")
    parser.add_argument("--model", help="a folder or Hub id (the bundled model)")
    options = parser.parse_args()
    if unknown := set(options.ways) - WAYS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    return options


def _bare_engine(scoring: dict[str, Any], texts: list[str]) -> tuple[list[Outcome], float, str]:
    """Return the outcomes of the engine's own scorer, texts per second, and its dtype."""
    scorer = load_scorer(WorkerSettings.load(**scoring, tokens_per_job=10**9), Limits())
    started = time.perf_counter()
    (outcomes,) = scorer.score([texts])
    tps = len(texts) / (time.perf_counter() - started)
    return outcomes, tps, scorer.engine.info.dtype


def _seconds(scored: pa.Table) -> float:
    """Return the time from the first batch that began to the last one that ended."""
    first: float = pa.compute.min(scored["begun_s"]).as_py()
    last: float = pa.compute.max(scored["ended_s"]).as_py()
    return last - first


def _max_abs_diff(scored: pa.Table, expected: list[Outcome]) -> float:
    """Return the largest difference of the score of a label."""
    differences = [0.0]
    for row in scored.select(["number", "sentq_label", "sentq_score"]).to_pylist():
        outcome = expected[row["number"]]
        assert isinstance(outcome, Prediction)  # noqa: S101 - the texts are made so
        differences.append(abs(outcome.scores[row["sentq_label"]] - row["sentq_score"]))
    return max(differences)


def _other_labels(scored: pa.Table, expected: list[Outcome]) -> int:
    """Count the rows whose label is another one, or that are missing."""
    labels = dict(zip(scored["number"].to_pylist(), scored["sentq_label"].to_pylist(), strict=True))
    return sum(
        not isinstance(outcome, Prediction) or labels.get(number) != outcome.label
        for number, outcome in enumerate(expected)
    )


if __name__ == "__main__":
    main()
