"""The command `sentq-worker evaluate`: options in; tables, JSON lines and a report out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console

from sentq.rendering import progress_bar
from sentq.settings import Settings
from sentq_worker.settings import WorkerSettings
from sentq_worker.training.data.rows import Columns, Filter, read_rows
from sentq_worker.training.errors import TrainingOptionsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress, TaskID

    from sentq.contract import Limits
    from sentq_worker.evaluate.results import Evaluation
    from sentq_worker.scoring.scorer import EngineScorer

__all__ = ["evaluate"]

#: The name of the bundled model where a folder or a Hub id is expected.
BUNDLED = "bundled"

_HELP = """Measure a model on labelled texts, scored exactly as a worker scores them.

DATA is a file (.jsonl, .csv, .tsv, each also .gz, or .parquet) or a split of a Hub dataset
(owner/name:split, owner/name:config:split), with a text and a label in each row. Prints accuracy,
macro F1, macro recall, calibration, the confusion of labels and the mistakes with the highest
scores: tables on a terminal, one line per file in a pipe, JSON lines with --json, a page with plots
with --html. Texts are private: they are only shown with --show-text.

\b
Examples:
  sentq-worker evaluate labelled.jsonl
  sentq-worker evaluate sst2.jsonl.gz tweets.csv --where split=valid --html report.html
  sentq-worker evaluate reviews.parquet --text-field body --label-field stars \\
      --label-map 1=negative --label-map 5=positive --label-map 3=
  sentq-worker evaluate owner/name:test --label-map 0=negative --label-map 1=positive
  sentq-worker evaluate held-out.jsonl --model ./my-model --against bundled
  sentq-worker evaluate --behaviour --model owner/name --json | jq .share
"""


def evaluate(
    *,
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA",
            help="Files, or Hub datasets as owner/name:split.",
            show_default=False,
        ),
    ] = None,
    behaviour: Annotated[
        bool, typer.Option("--behaviour", help="Run the behaviour suite, alone or after DATA.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id (default: the bundled model).", metavar="MODEL"),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a Hub model.", metavar="REVISION")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help=f"Compare with this model: folder, Hub id, or '{BUNDLED}'.", metavar="MODEL"
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Keep rows whose field has this value."),
    ] = None,
    text_field: Annotated[
        str, typer.Option(metavar="FIELD", help="The key or column that holds the text.")
    ] = "text",
    label_field: Annotated[
        str, typer.Option(metavar="FIELD", help="The key or column that holds the label.")
    ] = "label",
    label_map: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Rename a label of the data; 'OLD=' drops its rows."),
    ] = None,
    mistakes: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Mistakes and failed cases to show."),
    ] = 10,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Show the texts of mistakes.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON lines: one object per file.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report with plots to this file.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.", metavar="DEVICE")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of the engine (default: one per core).")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings.", metavar="FILE")
    ] = None,
) -> None:
    if not data and not behaviour:
        raise TrainingOptionsError("nothing to do: give DATA, --behaviour, or both")
    from sentq_worker.evaluate.run import EvaluationTask, evaluate_models

    columns = Columns.parse(text=text_field, label=label_field, names=label_map or ())
    filters = [Filter.parse(each) for each in where or ()]
    files = [read_rows(Path(one), filters, columns) for one in data or ()]
    settings = WorkerSettings.load(
        config,
        model=model,
        revision=revision,
        device=device,
        threads=threads,
        on_other_language="score",  # Rows in other languages are measured too.
    )
    chosen = [settings, *([_other(settings, against)] if against else [])]
    limits = Settings.load(config).limits
    with progress_bar(Console(file=sys.stderr), disable=False) as progress:
        evaluation = evaluate_models(
            [_loader(one, limits) for one in chosen],
            EvaluationTask(files, behaviour, mistakes, show_text),
            _Bars(progress),
        )
    if html is not None:  # Before the output, because `| head` ends the command.
        _write_report(evaluation, html)
    _show(evaluation, as_json=as_json, most=mistakes)


evaluate.__doc__ = _HELP


class _Bars:
    """One progress bar per file and model."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, what: str, texts: int) -> None:
        self._task = self._progress.add_task(what, total=texts)

    def advance(self, texts: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, texts)


def _other(settings: WorkerSettings, model: str) -> WorkerSettings:
    """Return the settings with another model, without the labels of the first model."""
    path = None if model == BUNDLED else model
    return settings.model_copy(update={"model": path, "revision": None, "labels": {}})


def _loader(settings: WorkerSettings, limits: Limits) -> Callable[[], EngineScorer]:
    def load() -> EngineScorer:
        from sentq_worker.providers.loading import load_scorer

        # The further models of a worker are others to compare with, not to route to.
        return load_scorer(settings.model_copy(update={"models": {}}), limits)

    return load


def _show(evaluation: Evaluation, *, as_json: bool, most: int) -> None:
    from sentq_worker.evaluate.terminal import lines, show_tables

    console = Console(highlight=False)
    if as_json:
        for each in evaluation.as_json():
            typer.echo(orjson.dumps(each))
    elif console.is_terminal:
        show_tables(evaluation, console, most=most)
    else:
        for line in lines(evaluation):
            typer.echo(line)


def _write_report(evaluation: Evaluation, file: Path) -> None:
    from sentq_worker.evaluate.page import page_of

    try:
        file.write_text(page_of(evaluation), encoding="utf-8")
    except OSError as error:
        raise TrainingOptionsError(f"cannot write --html {file}: {error.strerror}") from error
