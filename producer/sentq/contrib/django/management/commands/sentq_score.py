"""`manage.py sentq_score`: score the texts of a model's rows."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
)
from django.db import DEFAULT_DB_ALIAS, models

from sentq.cli.common import Exit, exit_code, notes
from sentq.cli.waiting import WaitNotices
from sentq.client import Client
from sentq.contract import Outcome, TextError
from sentq.contrib.django.config import load_settings
from sentq.contrib.django.outcome_file import OutcomeLines, open_outcome_file
from sentq.contrib.django.scoring import PARTS, Row, SavedFields, TextColumn, scored_rows
from sentq.errors import InvalidInput, SentqError
from sentq.rendering import progress_bar

__all__ = ["Command"]

#: Outcomes are saved when there are so many, or so long after the first of them.
_OUTCOMES_PER_SAVE: Final = 500
_SAVE_AFTER_S: Final = 2.0

_HELP: Final = """\
Score the texts of a model's rows as bulk work. Save the outcomes in fields of the rows (--save), or
write them as JSON lines (--output; default: standard output). With --save, rows that are scored
already are left out, so the same command continues after an interruption; with --output, --resume
does.
"""

_EXAMPLES: Final = """
examples:
  manage.py sentq_score shop.Review --field body --save label=mood sentiment=polarity
  manage.py sentq_score shop.Review --field body --output scores.jsonl
  manage.py sentq_score shop.Review --field body --output scores.jsonl --resume

exit codes:
  0  every text was scored
  1  some texts could not be scored; the other texts were
  2  a wrong option, setting, model or field
  3  Redis is not available
  4  no outcome in time
  5  no capacity for more jobs in time
"""

_Save = Callable[[Sequence[tuple[Row, Outcome]]], None]


class _HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Lists Django's own options last, and keeps the lines of the examples."""


class Command(BaseCommand):
    """Score the rows of a model; a run that was interrupted goes on where it ended."""

    help = _HELP

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of the command."""
        parser.epilog = _EXAMPLES
        parser.formatter_class = _HelpFormatter
        parser.add_argument("model", help="The model, such as shop.Review.")
        parser.add_argument("--field", required=True, help="The field that holds the text.")
        parser.add_argument(
            "--save",
            nargs="+",
            default=[],
            metavar="PART=FIELD",
            help=f"Which part of an outcome goes into which field: {', '.join(PARTS)}.",
        )
        parser.add_argument(
            "--all", action="store_true", help="Score rows again that are scored already."
        )
        parser.add_argument("--output", type=Path, metavar="FILE", help="A file of JSON lines.")
        parser.add_argument(
            "--resume", action="store_true", help="Continue the file after its last row."
        )
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, help="The database (default: %(default)s)."
        )
        parser.add_argument(
            "--timeout",
            type=float,
            metavar="SECONDS",
            help="Seconds to wait for each job at most (default: no limit).",
        )
        parser.add_argument(
            "--local-only", action="store_true", help="Score only on the worker's machine."
        )

    def handle(self, *_: object, **options: Any) -> None:
        """Run the command."""
        if options["save"] and options["output"]:
            raise CommandError("choose --save or --output", returncode=Exit.USAGE)
        if options["resume"] and not options["output"]:
            raise CommandError(
                "--resume needs --output; with --save, the same command continues by itself",
                returncode=Exit.USAGE,
            )
        try:
            failures = self._score(options)
        except SentqError as error:
            raise CommandError(str(error), returncode=exit_code(error)) from error
        except KeyboardInterrupt:
            raise CommandError("interrupted", returncode=Exit.INTERRUPTED) from None
        if failures:
            plural = "" if failures == 1 else "s"
            raise CommandError(
                f"{failures:,} text{plural} could not be scored", returncode=Exit.SOME_FAILED
            )

    def _score(self, options: dict[str, Any]) -> int:
        """Score all rows, and save what comes also if that is interrupted. Return the number of
        texts that could not be scored."""
        column = TextColumn(_model(options["model"]), options["field"], options["database"])
        with ExitStack() as stack:
            rows, after, save = column.rows, None, None
            if options["save"]:
                fields = SavedFields(column, dict(map(_assignment, options["save"])))
                rows, save = rows if options["all"] else fields.unscored(rows), fields.save
                stack.callback(self._report, fields, options["verbosity"])
            else:
                lines = OutcomeLines(self._write)
                if path := options["output"]:
                    lines = stack.enter_context(open_outcome_file(path, resume=options["resume"]))
                after, save = column.primary_key(lines.last_pk), lines.save
            client = stack.enter_context(Client(load_settings()))
            score = partial(
                client.map, timeout=options["timeout"], local_only=options["local_only"]
            )
            total = (rows if after is None else rows.filter(pk__gt=after)).count()
            notices = stack.enter_context(WaitNotices(client.backlog, self._say))
            progress = stack.enter_context(progress_bar(notes, disable=not options["verbosity"]))
            task = progress.add_task("scoring", total=total)

            def sent_rows() -> Iterator[Row]:
                for row in column.pages(rows, after=after):
                    notices.add_text()
                    yield row

            def received() -> Iterator[tuple[Row, Outcome]]:
                for pair in scored_rows(sent_rows(), score):
                    notices.add_outcome()
                    progress.advance(task)
                    yield pair

            return _save_all(received(), save)

    def _report(self, fields: SavedFields, verbosity: int) -> None:
        if verbosity:
            self._say(f"rows saved: {fields.saved:,}")
            if fields.changed:
                self._say(f"rows not saved, because they were changed: {fields.changed:,}")

    def _write(self, line: bytes) -> None:
        self.stdout.write(line.decode(), ending="")

    def _say(self, line: str) -> None:
        self.stderr.write(line, style_func=str)


def _save_all(outcomes: Iterable[tuple[Row, Outcome]], save: _Save) -> int:
    """Save the outcomes in batches; return how many are errors."""
    failures = 0
    batch: list[tuple[Row, Outcome]] = []
    due_s = 0.0
    try:
        for pair in outcomes:
            failures += isinstance(pair[1], TextError)
            if not batch:
                due_s = time.monotonic() + _SAVE_AFTER_S
            batch.append(pair)
            if len(batch) == _OUTCOMES_PER_SAVE or time.monotonic() > due_s:
                # Emptied first: what raises is not saved a second time below.
                complete, batch = batch, []
                save(complete)
    finally:
        if batch:
            save(batch)
    return failures


def _model(name: str) -> type[models.Model]:
    try:
        model: type[models.Model] = apps.get_model(name)
    except (LookupError, ValueError) as error:
        raise InvalidInput(f"{name} is not a model: {error}") from error
    return model


def _assignment(written: str) -> tuple[str, str]:
    part, separator, field = written.partition("=")
    if not separator or not field:
        raise InvalidInput(f"{written!r} is not PART=FIELD, such as label=mood")
    return part, field
