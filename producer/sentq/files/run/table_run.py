"""Runs that read a table of PostgreSQL, and those that store each chunk in one by a transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Final

from sentq.errors import SentqError
from sentq.files.formats import FileProblem
from sentq.files.outcomes import OutcomeColumns
from sentq.files.postgresql.address import DatabaseAddress
from sentq.files.postgresql.session import Session
from sentq.files.postgresql.source import PostgresOptions, PostgresSource
from sentq.files.postgresql.target import PostgresTarget, StoredRun, TargetOptions
from sentq.files.run.options import RunRequest
from sentq.files.run.scored import scored_chunks
from sentq.files.run.scoring import TextScoring
from sentq.files.run.state import RunState
from sentq.files.run.tally import RunTally
from sentq.files.run.watch import RunWatch

__all__ = ["DATABASE", "TableRun", "open_rows", "open_table_run", "remark_on_rows"]

#: The format of a table, as the options of a run name it.
DATABASE: Final = "postgresql"


@dataclass(slots=True, kw_only=True)
class TableRun:
    """A run.

    Attributes:
        source: The rows.
        target: Where the outcomes go.
        options: What changes the output, by the names of options.
        restart: Whether outcomes of an earlier run are written anew.
        watch: Is told of the progress.
        gone: How many rows were deleted before their outcomes could be stored.
    """

    source: PostgresSource
    target: PostgresTarget
    options: Mapping[str, object]
    restart: bool
    watch: RunWatch
    gone: int = 0

    def score(self, open_scoring: Callable[[], TextScoring]) -> RunTally:
        """Score all rows after the last one that is stored.

        Args:
            open_scoring: Returns what scores the texts. It is not called if nothing is left.

        Returns:
            The counts of all rows, those of earlier runs too.

        Raises:
            RunChanged: An earlier run had another input, other options or another model.
            FileProblem: The outcomes cannot be stored there.
            SentqError: What the scoring and the database raise. What is stored stays.
        """
        state = self._begin()
        self.watch.begin(state.tally, self.source.rows, resumes=state.parts > 0)
        rows = self.source.chunks(state.end)
        first = next(rows, None)
        if first is None:
            return state.tally
        for chunk, outcomes in scored_chunks(chain([first], rows), state, open_scoring, self.watch):
            state.add(chunk, outcomes)
            stored = self.target.store(chunk.keys, outcomes, _stored(state))
            self.gone += len(chunk.keys) - stored
        return state.tally

    def remarks(self) -> list[str]:
        """Return what became of rows that were not stored."""
        found = remark_on_rows(self.source, self.watch.figures.rows)
        if self.gone:
            found.append(f"{self.gone:,} rows were deleted before their outcomes could be stored")
        return found

    def _begin(self) -> RunState:
        """Return the state of the run that is stored, or begin one."""
        inputs, where = self.source.digests(), str(self.target)
        found = None if self.restart else self.target.read()
        if found is None:
            state = RunState(where=where, inputs=inputs, options=dict(self.options))
            self.target.prepare(_stored(state), restart=self.restart)
            return state
        try:
            state = RunState.from_json(where, found.state)
        except (ValueError, LookupError, TypeError) as error:
            raise FileProblem(
                f"the state of {where} cannot be read by this version: --restart begins anew"
            ) from error
        state.check_same(inputs, self.options)
        return state


def _stored(state: RunState) -> StoredRun:
    return StoredRun(state.parts, state.as_json())


def open_rows(
    request: RunRequest,
    columns: OutcomeColumns,
    stack: ExitStack,
    *,
    reads_all: bool,
    for_arrow: bool = False,
) -> PostgresSource:
    """Return the rows of the table that a request names.

    Args:
        request: What to do.
        columns: The columns that will be added.
        stack: Closes the connection.
        reads_all: Whether the output has all columns of the table.
        for_arrow: Whether it is Parquet.

    Raises:
        FileProblem: There is no such table, column or key, the user of the database may not read
            it, or options do not fit.
        DatabaseUnavailable: The database does not answer.
    """
    if len(request.inputs) > 1:
        raise FileProblem("a database cannot be one of several inputs: score them one by one")
    if request.in_table is None:
        raise FileProblem("--in-table names the table of the database")
    if request.form or request.encoding or request.separator:
        raise FileProblem("--format, --encoding and --separator read files, and not a database")
    address = DatabaseAddress.parse(request.inputs[0])
    options = PostgresOptions(
        table=request.in_table,
        field=request.field or "text",
        key=request.key_column,
        reads_all=reads_all,
        for_arrow=for_arrow,
        rows_per_chunk=request.rows_per_part,
    )
    session = stack.enter_context(Session(address, is_read_only=True))
    return PostgresSource(session, options, columns)


def open_table_run(
    request: RunRequest, columns: OutcomeColumns, watch: RunWatch, stack: ExitStack
) -> TableRun:
    """Return a run that writes to the database that the output of a request names.

    Raises:
        FileProblem: As for `open_rows`; or the outcomes cannot be stored there.
        DatabaseUnavailable: The database does not answer.
    """
    if request.out_form is not None:
        raise FileProblem("--out-format is for files, and the output is a database")
    if request.report is not None:
        raise FileProblem("--report reads the output, which must be a file or a folder")
    source = open_rows(request, columns, stack, reads_all=False)
    target = stack.enter_context(
        PostgresTarget(
            DatabaseAddress.parse(request.out),
            TargetOptions(
                table=request.out_table or str(source.facts),
                is_own=request.out_table is not None,
                key=source.key,
                columns=columns,
            ),
        )
    )
    if request.out_table is None and not target.has_table(source.table_id()):
        raise FileProblem(
            f"{target} is not the table that is read: --out-table names one for outcomes"
        )
    return TableRun(
        source=source,
        target=target,
        options=request.output_options(DATABASE, columns),
        restart=request.restart,
        watch=watch,
    )


def remark_on_rows(source: PostgresSource, scored: int) -> list[str]:
    """Return what is to be said of rows that came while a run went on.

    Args:
        source: The rows.
        scored: How many rows were scored.
    """
    try:
        came = source.count() - scored
    except SentqError:
        return []  # The run is complete all the same.
    if came <= 0:
        return []
    return [
        f"{came:,} rows came meanwhile and are not scored: those whose keys were passed already"
    ]
