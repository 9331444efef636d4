"""The options that `sentq score` and `sentq-worker score` have in common, and what they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer

from sentq.contract import Detail
from sentq.files.formats import Format
from sentq.files.outcomes import DEFAULT_PREFIX, OutcomeColumns
from sentq.files.reading.sources import ROWS_PER_CHUNK
from sentq.files.run.watch import ProgressKind

__all__ = [
    "ColumnsOption",
    "EncodingOption",
    "FieldOption",
    "FormatOption",
    "InTableOption",
    "KeyColumnOption",
    "OutFormatOption",
    "OutTableOption",
    "PrefixOption",
    "ProgressOption",
    "ReportByOption",
    "ReportDateOption",
    "ReportOption",
    "RestartOption",
    "RowsPerPartOption",
    "RunRequest",
    "SeparatorOption",
    "Split",
    "SplitOption",
    "split_detail",
]

FieldOption = Annotated[
    str | None,
    typer.Option(
        help='The JSON key or the column that holds the text (default: "text").',
        show_default=False,
    ),
]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Format of the input (default: by its name).")
]
OutFormatOption = Annotated[
    Format | None, typer.Option(help="Format of the output (default: by its name).")
]
EncodingOption = Annotated[
    str | None,
    typer.Option(
        help="Encoding of the input, such as latin-1 (default: UTF-8, or what a byte order mark "
        "says).",
        metavar="NAME",
    ),
]
SeparatorOption = Annotated[
    str | None,
    typer.Option(help="Character between the fields of a CSV input.", metavar="CHARACTER"),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        help="Columns to add, separated by commas: label, score, scores, sentiment, tokens, "
        "windows, language, language_confidence, language_supported, model, mixed, parts, error, "
        "message (default: label,score,sentiment,error,message; with --split also mixed,parts).",
        metavar="NAMES",
    ),
]


class Split(StrEnum):
    """What texts are split into; each part is scored on its own, too."""

    NONE = "none"
    SENTENCES = "sentences"
    PARAGRAPHS = "paragraphs"
    WINDOWS = "windows"


SplitOption = Annotated[
    Split,
    typer.Option(
        help="Also score the sentences or the paragraphs of each text on their own, which takes "
        "about twice as long, or show the windows in which a long text is read; and tell whether "
        "it is mixed."
    ),
]


def split_detail(split: Split) -> Detail | None:
    """Return what the option asks for."""
    return None if split is Split.NONE else cast("Detail", split.value)


PrefixOption = Annotated[
    str, typer.Option(help="What the names of added columns begin with.", metavar="TEXT")
]
RowsPerPartOption = Annotated[
    int,
    typer.Option(
        min=1, help="Rows of a part: what is lost at most if the process is killed.", metavar="N"
    ),
]
RestartOption = Annotated[
    bool,
    typer.Option(
        "--restart",
        "--force",
        help="Begin anew: discard the parts of an earlier run, and overwrite the output.",
    ),
]
ProgressOption = Annotated[
    ProgressKind,
    typer.Option(help="How to show the progress; auto is a bar on a terminal, else nothing."),
]


ReportOption = Annotated[
    Path | None,
    typer.Option(
        help="Write a report on the output to this HTML file. It has texts of the data.",
        metavar="FILE",
    ),
]
ReportDateOption = Annotated[
    str | None, typer.Option(help="Column of dates, for the report.", metavar="COLUMN")
]
ReportByOption = Annotated[
    str | None, typer.Option(help="Column of categories, for the report.", metavar="COLUMN")
]
InTableOption = Annotated[
    str | None,
    typer.Option(help="Table to read, of a PostgreSQL database.", metavar="[SCHEMA.]NAME"),
]
KeyColumnOption = Annotated[
    str | None,
    typer.Option(
        help="Unique column of it, in whose order rows are read (default: the primary key).",
        metavar="COLUMN",
        show_default=False,
    ),
]
OutTableOption = Annotated[
    str | None,
    typer.Option(
        help="Table of outcomes, made if it is not there (default: columns of the table itself).",
        metavar="[SCHEMA.]NAME",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What a command is asked to do.

    Attributes:
        inputs: Files, patterns, folders, or `-`; the URL of a database; or texts.
        are_texts: Whether the inputs are texts.
        out: The output: a file, a folder, `-`, or the URL of a database.
        program: The name of the command, for messages.
    """

    inputs: Sequence[str]
    out: str
    program: str
    are_texts: bool = False
    field: str | None = None
    form: Format | None = None
    encoding: str | None = None
    separator: str | None = None
    in_table: str | None = None
    key_column: str | None = None
    out_table: str | None = None
    columns: str | None = None
    prefix: str = DEFAULT_PREFIX
    split: Split = Split.NONE
    out_form: Format | None = None
    rows_per_part: int = ROWS_PER_CHUNK
    restart: bool = False
    progress: ProgressKind = ProgressKind.AUTO
    report: Path | None = None
    report_date: str | None = None
    report_by: str | None = None

    def output_options(self, form: str, columns: OutcomeColumns) -> dict[str, object]:
        """Return the options that change any output, by their names.

        Args:
            form: The format of the input.
            columns: The columns of outcomes.
        """
        options: dict[str, object] = {
            "--field": self.field,
            "--format": form,
            "--columns": ",".join(columns.parts),
            "--prefix": columns.prefix,
        }
        if self.split is not Split.NONE:  # Runs of earlier versions do not have it.
            options["--split"] = self.split.value
        return options
