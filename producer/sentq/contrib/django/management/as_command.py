"""Run a command of `sentq` as a part of `manage.py`, with the settings of the project."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout

from django.core.management.base import BaseCommand, CommandError

from sentq.cli import app
from sentq.cli.common import exit_code, with_settings
from sentq.contrib.django.config import load_settings
from sentq.errors import SentqError

__all__ = ["SentqCommand"]


class SentqCommand(BaseCommand):
    """A command of `manage.py` that does what a command of `sentq` does.

    Output, messages and exit codes are the same; `call_command(stdout=…)` redirects them.
    """

    def run_sentq(self, *arguments: str) -> None:
        """Run a command of `sentq`.

        Raises:
            CommandError: It failed with an error of sentq. The exit code is that of `sentq`.
            SystemExit: It ended with another exit code than 0, and has said why.
        """
        # Django would end each part of a line with a line break.
        self.stdout.ending = self.stderr.ending = ""
        try:
            with (
                redirect_stdout(self.stdout),
                redirect_stderr(self.stderr),
                with_settings(load_settings()),
            ):
                app(arguments, prog_name="sentq")
        except SystemExit as end:
            if end.code:
                raise
        except SentqError as error:
            raise CommandError(str(error), returncode=exit_code(error)) from error
        finally:
            self.stdout.ending = self.stderr.ending = "\n"
