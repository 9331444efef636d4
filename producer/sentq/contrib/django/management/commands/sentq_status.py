"""`manage.py sentq_status`: queued jobs, jobs in flight, and workers."""

from __future__ import annotations

from django.core.management.base import CommandParser

from sentq.contrib.django.management.as_command import SentqCommand

__all__ = ["Command"]


class Command(SentqCommand):
    """`sentq status` with the settings of the project."""

    help = "Show queued jobs, jobs in flight, and workers, as `sentq status` does."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of the command."""
        parser.add_argument("--json", action="store_true", help="One JSON object.")
        parser.add_argument("--batch", metavar="ID", help="The progress of this batch.")

    def handle(self, *_: object, json: bool, batch: str | None, **__: object) -> None:
        """Run the command."""
        options = [*(["--json"] if json else []), *(["--batch", batch] if batch else [])]
        self.run_sentq("status", *options)
