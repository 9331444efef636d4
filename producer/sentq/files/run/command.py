"""A run as a command: from a request to an output, with progress, messages and a summary.

`sentq score` and `sentq-worker score` differ in what scores the texts, which each of them gives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import typer
from rich.console import Console

from sentq.errors import SentqError
from sentq.files.outcomes import OutcomeColumns
from sentq.files.run.opening import open_run
from sentq.files.run.options import RunRequest, Split
from sentq.files.run.scoring import TextScoring
from sentq.files.run.state import RunChanged
from sentq.files.run.summary import summarise
from sentq.files.run.tally import RunTally
from sentq.files.run.watch import ProgressKind, RunWatch, watch_of
from sentq.rendering import printable

__all__ = ["run_files"]

#: The exit code of a command that Ctrl-C has ended.
_INTERRUPTED: Final = 130


def run_files(
    request: RunRequest, open_scoring: Callable[[], TextScoring], console: Console
) -> RunTally:
    """Score the input of a request, and write the output.

    Args:
        request: What to do.
        open_scoring: Returns what scores the texts. It is called only if some are left.
        console: For progress, messages and the summary.

    Returns:
        The counts of all rows.

    Raises:
        FileProblem: The input or the output is not possible, as the message says.
        RunChanged: The parts that exist are of another input, other options or another model.
        SentqError: What the scoring raises.
        typer.Exit: Ctrl-C has ended the run. The parts are kept.
    """

    def say(line: str) -> None:
        console.print(f"{request.program}: {printable(line)}", markup=False, soft_wrap=True)

    columns = OutcomeColumns.parse(
        request.columns, request.prefix, detail=request.split is not Split.NONE
    )
    watch = watch_of(request.progress, console)
    with ExitStack() as stack:
        opened = open_run(request, columns, watch, stack)
        began_s = time.process_time()
        with _resumable(watch, opened.how, say):
            tally = opened.run.score(open_scoring)
        summarise(
            tally,
            watch.figures,
            core_s=time.process_time() - began_s,
            output=opened.output,
            kind=request.progress,
            console=console,
            say=say,
        )
        if request.progress not in {ProgressKind.JSON, ProgressKind.NONE}:
            for line in opened.remarks():
                say(line)
        opened.finish()
    return tally


@contextmanager
def _resumable(watch: RunWatch, how: str, say: Callable[[str], None]) -> Iterator[None]:
    """Show the progress in the block; if the run does not end, say how to go on."""
    try:
        with watch:
            yield
    except KeyboardInterrupt:
        say(f"stopped after {watch.figures.rows:,} rows{how}")
        raise typer.Exit(_INTERRUPTED) from None
    except RunChanged:
        raise
    except SentqError:
        if watch.figures.rows:
            say(f"ended after {watch.figures.rows:,} rows{how}")
        raise
