"""`manage.py sentq_dead`: list, show, retry or drop dead letters."""

from __future__ import annotations

import argparse

from django.core.management.base import CommandParser

from sentq.contrib.django.management.as_command import SentqCommand

__all__ = ["Command"]


class Command(SentqCommand):
    """`sentq dead` with the settings of the project."""

    help = (
        "List, show, retry or drop dead letters, as `sentq dead` does. "
        "`manage.py sentq_dead list --help` lists the options."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the arguments of `sentq dead` as they are."""
        parser.add_argument("action", choices=["list", "show", "retry", "drop"])
        parser.add_argument(
            "arguments",
            nargs=argparse.REMAINDER,
            help="Ids and options of the action, such as --code worker_lost.",
        )

    def handle(self, *_: object, action: str, arguments: list[str], **__: object) -> None:
        """Run the command."""
        self.run_sentq("dead", action, *arguments)
