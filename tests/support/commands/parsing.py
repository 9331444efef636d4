"""Read a command as its program would, without running it."""

from __future__ import annotations

import argparse
import re
import shlex
import tomllib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any, Final

import typer.main
from celery.bin.celery import celery as celery_command
from uvicorn.main import main as uvicorn_command

import sentq.cli
import sentq_worker.cli
from tests.support import settings_page

__all__ = ["CannotParse", "parse_command"]

ROOT: Final = Path(__file__).parents[3]

#: Variables that are not settings of sentq.
_OTHER_VARIABLES: Final = {"HF_TOKEN"}


class CannotParse(AssertionError):
    """A program would refuse the command, or is not known here."""


def parse_command(command: str) -> None:
    """Check the variables, options and arguments of a command, or of several with pipes between.

    Raises:
        CannotParse: They are not those of the program.
    """
    words = shlex.split(command.replace("\\\n", " "), comments=True)
    for is_pipe, part in groupby(words, lambda word: word == "|"):
        if not is_pipe:
            _parse_words([*takewhile(lambda word: word not in ("<", ">"), part)])


def _parse_words(words: list[str]) -> None:
    words = words[1:] if words[:1] == ["export"] else words
    while words and (found := re.fullmatch(r"([A-Z_]+)=.*", words[0])):
        _check_variable(found[1])
        words = words[1:]
    if not words:
        return
    program, *arguments = words
    parser = _PARSERS.get(Path(program).name)
    if parser is None:
        raise CannotParse(f"no parser for the program {program}")
    parser(arguments)


def _check_variable(name: str) -> None:
    known = {f"SENTQ_{key.replace('.', '_').upper()}" for key in settings_page.names()}
    # OpenTelemetry has its own, and reads them itself.
    if name not in known | _OTHER_VARIABLES and not name.startswith("OTEL_"):
        raise CannotParse(f"{name} is not a setting")


def _click(command: Any, name: str) -> Callable[[list[str]], None]:
    def parse(arguments: list[str]) -> None:
        try:
            _descend(command, name, arguments, parent=None)
        except Exception as error:
            raise CannotParse(f"{name} {arguments}: {error}") from error

    return parse


def _descend(command: Any, name: str, arguments: list[str], parent: Any) -> None:
    """Parse the options of a command, and of the subcommand that its arguments name."""
    context = command.make_context(name, list(arguments), parent=parent)
    rest = [*getattr(context, "_protected_args", []), *context.args]
    if hasattr(command, "resolve_command") and rest:
        subname, subcommand, left = command.resolve_command(context, rest)
        _descend(subcommand, str(subname), left, context)


def _celery(arguments: list[str]) -> None:
    option, app, command, *_ = arguments
    known = {*celery_command.commands, "flower"}
    if option != "-A" or find_spec(app) is None or command not in known:
        raise CannotParse(f"celery {arguments}")


def _make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in arguments:
        if not re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE):
            raise CannotParse(f"the Makefile has no target {target}")


def _pip(arguments: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for argument in arguments:
        if found := re.fullmatch(r"sentq\[(.+)\]", argument):
            if unknown := set(found[1].split(",")) - extras.keys():
                raise CannotParse(f"there is no extra {unknown}")
        elif argument.startswith("docker/") and not (ROOT / argument).exists():
            raise CannotParse(f"there is no file {argument}")


def _cd(arguments: list[str]) -> None:
    (folder,) = arguments
    if not (ROOT / folder).is_dir():
        raise CannotParse(f"there is no folder {folder}")


def _gunicorn(arguments: list[str]) -> None:
    from gunicorn.config import Config

    _argparse(Config().parser(), arguments)


def _django(arguments: list[str]) -> None:
    command, *rest = arguments
    if command.startswith("sentq_"):
        module = import_module(f"sentq.contrib.django.management.commands.{command}")
        _argparse(module.Command().create_parser("manage.py", command), rest)
    elif command not in {"migrate", "test"}:
        raise CannotParse(f"manage.py {command}")


def _argparse(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    try:
        parser.parse_args(arguments)
    except (SystemExit, Exception) as error:
        raise CannotParse(f"{parser.prog} {arguments}: {error}") from error


def _no_arguments(arguments: list[str]) -> None:
    if arguments:
        raise CannotParse(f"arguments are not checked here: {arguments}")


def _python(arguments: list[str]) -> None:
    match arguments:
        case ["manage.py", *rest]:
            _django(rest)
        case ["-c", code]:
            compile(code, "-c", "exec")
        case ["-m", module, *_] if find_spec(module) is not None:
            pass
        case _:
            raise CannotParse(f"python {arguments}")


def _any_arguments(arguments: list[str]) -> None:
    """Accept the arguments of a program that every shell has."""


def _instrumented(arguments: list[str]) -> None:
    """Check the program that `opentelemetry-instrument`, which is not installed here, starts."""
    _parse_words(arguments)


_PARSERS: Final = {
    "sentq": _click(typer.main.get_command(sentq.cli.app), "sentq"),
    "sentq-worker": _click(typer.main.get_command(sentq_worker.cli.app), "sentq-worker"),
    "celery": _celery,
    "cd": _cd,
    "gunicorn": _gunicorn,
    "make": _make,
    "opentelemetry-instrument": _instrumented,
    "pip": _pip,
    "pytest": _no_arguments,
    "python": _python,
    "python3": _python,
    "uvicorn": _click(uvicorn_command, "uvicorn"),
    "zcat": _any_arguments,
}
