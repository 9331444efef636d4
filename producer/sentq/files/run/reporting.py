"""The report at the end of a run: what it needs is checked before the run begins."""

from __future__ import annotations

from sentq.files.formats import FileProblem
from sentq.files.outcomes import OutcomeColumns
from sentq.files.reading.sources import RowSource
from sentq.files.report.facts import (
    REPORT_PARTS,
    ReportOptions,
    check_report_columns,
    read_facts,
)
from sentq.files.report.page import page_of, require_jinja
from sentq.files.run.manifest import written_file
from sentq.files.run.options import RunRequest
from sentq.files.writing.output import Output

__all__ = ["check_report", "write_report"]


def check_report(
    request: RunRequest, source: RowSource, output: Output, columns: OutcomeColumns
) -> None:
    """Check that a run can write the report that was asked for, if one was.

    Raises:
        FileProblem: It cannot.
        MissingLibrary: Jinja is not installed.
    """
    if request.report is None:
        if request.report_date is not None or request.report_by is not None:
            raise FileProblem("--report-date and --report-by go with --report")
        return
    require_jinja()
    if output.is_stream:
        raise FileProblem(f"--report reads the output, and {output} cannot be read again")
    if missing := [part for part in REPORT_PARTS if part not in columns.parts]:
        raise FileProblem(f"--report needs the column {missing[0]}: add it to --columns")
    if names := source.no_rows().names:
        check_report_columns(names, _options(request, columns))


def write_report(request: RunRequest, output: Output, columns: OutcomeColumns) -> None:
    """Write the report of a run that is complete, if one was asked for.

    Raises:
        FileProblem: It cannot be written.
    """
    if request.report is None or output.path is None:
        return
    options = _options(request, columns)
    facts = read_facts(output.files, output.form, options)
    page = page_of(facts, options, title=output.path.name)
    with written_file(request.report) as file:
        file.write(page.encode())


def _options(request: RunRequest, columns: OutcomeColumns) -> ReportOptions:
    return ReportOptions(
        field=request.field or "text",
        prefix=columns.prefix,
        date=request.report_date,
        category=request.report_by,
    )
