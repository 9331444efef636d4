"""The command `sentq-worker evaluate`: labelled texts through the worker's own scoring."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console

from sentq.contract import Prediction
from sentq.present import progress_bar
from sentq.settings import Settings
from sentq_worker.settings import WorkerSettings
from sentq_worker.training.errors import TrainingDataError
from sentq_worker.training.evaluation import Figures, figures_of
from sentq_worker.training.rows import Filter, Rows, read_rows

if TYPE_CHECKING:
    from sentq_worker.scoring import Scorer

__all__ = ["evaluate"]

#: Texts scored at once: enough to sort by length, few enough for a bar that moves.
_CHUNK_TEXTS = 512

_HELP = """Measure a model on labelled texts, scored exactly as a worker scores them.

Prints accuracy, macro F1, and the accuracy between positive and negative alone over the texts
that are not neutral.

\b
Examples:
  sentq-worker evaluate labelled.jsonl
  sentq-worker evaluate sst2.jsonl.gz --where split=valid --where label=negative
  sentq-worker evaluate labelled.jsonl --model ./my-model --json
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What one file gave. `errors` texts had no prediction and are in no figure."""

    file: str
    figures: Figures
    errors: int
    texts_per_s: float


def evaluate(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="JSON lines with text and label (.jsonl or .jsonl.gz).",
            show_default=False,
        ),
    ],
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Keep rows whose field has this value."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id (default: the bundled model).", metavar="MODEL"),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a Hub model.", metavar="REVISION")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.", metavar="DEVICE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a file.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings.", metavar="FILE")
    ] = None,
) -> None:
    from sentq_worker.loading import load_scorer

    filters = [Filter.parse(each) for each in where or ()]
    files = [read_rows(path, filters) for path in data]
    settings = WorkerSettings.load(config, model=model, revision=revision, device=device)
    scorer = load_scorer(settings, Settings.load(config).limits)
    for rows in files:
        report = _report(rows, scorer)
        if as_json:
            row = {"file": report.file, **report.figures.as_json(), "errors": report.errors}
            typer.echo(orjson.dumps(row | {"texts_per_s": round(report.texts_per_s, 1)}))
        else:
            typer.echo(
                f"{report.file}: {report.figures.rows:,} texts, {report.figures.line()}"
                f" ({report.errors} errors, {report.texts_per_s:,.0f} texts/s)"
            )


evaluate.__doc__ = _HELP


def _report(rows: Rows, scorer: Scorer) -> Report:
    labels = scorer.label_names
    if unknown := set(rows.labels) - set(labels):
        raise TrainingDataError(
            f"{rows.name} has labels that the model has not: {', '.join(sorted(unknown))}; "
            f"the model's are {', '.join(labels)}"
        )
    started = time.perf_counter()
    scored = _score(rows.texts, scorer)
    elapsed_s = time.perf_counter() - started
    kept = [
        (list(outcome.scores.values()), labels.index(label))
        for outcome, label in zip(scored, rows.labels, strict=True)
        if isinstance(outcome, Prediction)
    ]
    if not kept:
        raise TrainingDataError(f"no text of {rows.name} could be scored")
    figures = figures_of([row for row, _ in kept], [label for _, label in kept], labels=labels)
    return Report(rows.name, figures, len(scored) - len(kept), len(scored) / elapsed_s)


def _score(texts: Sequence[str], scorer: Scorer) -> list[object]:
    outcomes: list[object] = []
    notes = Console(file=sys.stderr)
    with progress_bar(notes, disable=False) as progress:
        task = progress.add_task("scoring", total=len(texts))
        for start in range(0, len(texts), _CHUNK_TEXTS):
            chunk = texts[start : start + _CHUNK_TEXTS]
            outcomes += scorer.score([chunk])[0]
            progress.advance(task, len(chunk))
    return outcomes
