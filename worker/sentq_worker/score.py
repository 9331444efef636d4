"""`sentq-worker score`: files through the engine of this process, without a queue."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from sentq.contract import Outcome, TextError
from sentq.errors import InvalidInput
from sentq.files.inputs import HUB
from sentq.files.outcomes import DEFAULT_PREFIX
from sentq.files.reading.sources import ROWS_PER_CHUNK
from sentq.files.run.command import run_files
from sentq.files.run.options import (
    ColumnsOption,
    EncodingOption,
    FieldOption,
    FormatOption,
    InTableOption,
    KeyColumnOption,
    OutFormatOption,
    OutTableOption,
    PrefixOption,
    ProgressOption,
    ReportByOption,
    ReportDateOption,
    ReportOption,
    RestartOption,
    RowsPerPartOption,
    RunRequest,
    SeparatorOption,
    Split,
    SplitOption,
    split_detail,
)
from sentq.files.run.scoring import ModelName, ScoredTexts
from sentq.files.run.watch import ProgressKind
from sentq_worker.embedded.scorer import Scorer
from sentq_worker.exit_codes import EX_SOME_FAILED

__all__ = ["HELP", "EngineScoring", "score"]

#: How many texts the engine sorts by their length together.
_TEXTS_PER_STEP: Final = 1024

HELP: Final = """Score files with the engine of this process: no Redis, no queue, all cores.

\b
Examples:
  sentq-worker score reviews.csv --field body --out scored.csv
  sentq-worker score reviews.parquet --out scored.parquet --model ./my-model
  sentq-worker score 'export/*.jsonl.gz' --out scored/ --device cuda --progress json
  sentq-worker score hf://datasets/owner/name:test --out scored.parquet
  sentq-worker score postgresql://app@db/shop --in-table reviews --out postgresql://app@db/shop

\b
Each row of the input is written with its other columns and sentq_label, sentq_score,
sentq_sentiment, sentq_error, sentq_message. Until all is done, parts are kept in OUTPUT.parts:
after Ctrl-C, or if anything failed, the same command goes on. It refuses to mix other inputs,
options or models; --restart begins anew. `sentq score --help` has the formats; Parquet and .zst
need sentq[files], and databases sentq[postgresql]. Of a data set of the Hub its Parquet form is
fetched; none of its code is run.

\b
Exit codes:
  0    every text was scored
  1    some texts ended in an error; the others were scored
  2    a wrong option, setting or file
  69   the database is not available; the same command goes on
  78   the model cannot be loaded, or the device is not available
  130  Ctrl-C; the same command goes on
"""


class EngineScoring:
    """Scores texts with the engine of this process.

    Args:
        scorer: Has the model.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def score(self, texts: Iterable[object]) -> Iterator[ScoredTexts]:
        """See `TextScoring`."""
        info = self._scorer.info
        model = ModelName(info.model, info.revision)
        each = iter(texts)
        while found := list(islice(each, _TEXTS_PER_STEP)):
            yield ScoredTexts(self._outcomes(found), model)

    def _outcomes(self, texts: list[object]) -> list[Outcome]:
        scored = iter(self._scorer.score([t for t in texts if not isinstance(t, TextError)]))
        return [text if isinstance(text, TextError) else next(scored) for text in texts]


def _local(name: str) -> list[str]:
    """Return the files of a data set of the Hub, which are fetched; any other name as it is.

    Raises:
        InvalidInput: It is not the name of a data set.
        TrainingDataError: The Hub has no such data set, or cannot be reached.
    """
    if not name.startswith(HUB):
        return [name]
    from sentq_worker.training.data.hub_dataset import DatasetId, fetch_dataset

    dataset = DatasetId.parse_url(name)
    if dataset is None:
        raise InvalidInput(f"{name} is not hf://datasets/owner/name[/config][:split]")
    return [str(file) for file in fetch_dataset(dataset)]


def score(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...|-", help="Files, patterns, folders; or - for standard input."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="Write all rows with their outcomes to this file or folder; - is standard output.",
            metavar="OUTPUT",
        ),
    ],
    field: FieldOption = None,
    form: FormatOption = None,
    out_format: OutFormatOption = None,
    encoding: EncodingOption = None,
    separator: SeparatorOption = None,
    in_table: InTableOption = None,
    key_column: KeyColumnOption = None,
    out_table: OutTableOption = None,
    split: SplitOption = Split.NONE,
    columns: ColumnsOption = None,
    prefix: PrefixOption = DEFAULT_PREFIX,
    rows_per_part: RowsPerPartOption = ROWS_PER_CHUNK,
    restart: RestartOption = False,
    progress: ProgressOption = ProgressKind.AUTO,
    report: ReportOption = None,
    report_date: ReportDateOption = None,
    report_by: ReportByOption = None,
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
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of the engine (default: one a core).")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings.", metavar="FILE")
    ] = None,
) -> None:
    """See `HELP`."""
    # A wrong setting is an error before a file is read; the model is loaded after that.
    scorer = Scorer(
        model=model,
        revision=revision,
        device=device,
        threads=threads,
        config=config,
        detail=split_detail(split),
    )
    request = RunRequest(
        inputs=[file for each in inputs for file in _local(each)],
        out=out,
        program="sentq-worker",
        field=field,
        form=form,
        encoding=encoding,
        separator=separator,
        in_table=in_table,
        key_column=key_column,
        out_table=out_table,
        split=split,
        columns=columns,
        prefix=prefix,
        out_form=out_format,
        rows_per_part=rows_per_part,
        restart=restart,
        progress=progress,
        report=report,
        report_date=report_date,
        report_by=report_by,
    )
    console = Console(stderr=True, highlight=False)
    tally = run_files(request, lambda: EngineScoring(scorer), console)
    if tally.failures:
        sys.exit(EX_SOME_FAILED)
