"""What the arguments of `sentq score` name: texts, a file, or standard input. Never guessed."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sentq.errors import InvalidInput
from sentq.files import FileProblem, Format
from sentq.files.formats import STANDARD_INPUT
from sentq.files.inputs import HUB
from sentq.files.postgresql.address import names_database
from sentq.rendering import printable

__all__ = ["InputFile", "find_source", "looks_like_a_path", "names_files"]

_DEFAULT_FIELD: Final = "text"

#: A word that ends in a suffix, such as `notes.xlsx`; or that begins as a path does.
_PATH: Final = re.compile(r"(?:~|\.{1,2})?/\S*[^/\s.]|[^\s.]\S*\.[A-Za-z][A-Za-z0-9]{1,7}")


@dataclass(frozen=True, slots=True)
class InputFile:
    """Where the texts stand.

    Attributes:
        name: A file, or `-` for standard input.
        form: Its format.
        field: The key or column that holds the text; unused for plain lines.
    """

    name: str
    form: Format
    field: str


def find_source(
    arguments: Sequence[str], *, form: Format | None, field: str | None, as_text: bool
) -> InputFile | None:
    """Return the file that the arguments name; None if they are texts themselves.

    Args:
        form: The format that the user named, if any.
        field: The field that the user named, if any.
        as_text: Whether the user said that the arguments are texts.

    Raises:
        FileProblem: A file's name does not say what is in it, a file that the name of an argument
            promises is not there, or there are files among several arguments.
        InvalidInput: The options do not fit each other or the arguments.
    """
    if as_text:
        if form is not None or field is not None:
            raise InvalidInput("--as-text does not go with --format and --field: they read a file")
        return None
    if len(arguments) > 1:
        _refuse_files_among_texts(arguments, form=form, field=field)
        return None
    (name,) = arguments
    if name == STANDARD_INPUT:
        return _checked(name, form or Format.TXT, field)
    if form is None and not _exists(name):
        _refuse_a_missing_file(name, field)
        return None
    known = form or Format.of(name)
    if known is None or (form is None and Path(name).is_dir()):
        raise FileProblem(_unknown(name))
    return _checked(name, known, field)


def names_files(
    arguments: Sequence[str], *, form: Format | None, field: str | None, as_text: bool
) -> bool:
    """Tell whether the arguments of a command with `--out` name files: any number, patterns and
    folders too.

    Raises:
        FileProblem: A file that the name of the only argument promises is not there.
        InvalidInput: The options do not fit each other.
    """
    if as_text:
        return find_source(arguments, form=form, field=field, as_text=True) is not None
    if form is not None or field is not None:
        return True
    if any(map(_is_input, arguments)):
        return True
    if len(arguments) == 1:
        _refuse_a_missing_file(arguments[0], field)
    return False


def looks_like_a_path(argument: str) -> bool:
    """Tell whether one word looks like the path of a file."""
    return _PATH.fullmatch(argument) is not None


def _refuse_files_among_texts(
    arguments: Sequence[str], *, form: Format | None, field: str | None
) -> None:
    if form is not None or field is not None:
        raise InvalidInput("--format and --field read one file, and several arguments are given")
    for argument in arguments:
        if argument == STANDARD_INPUT or _exists(argument):
            raise FileProblem(
                f"{printable(argument)} is a file: give one file and nothing else; "
                "--as-text scores the arguments themselves"
            )


def _refuse_a_missing_file(name: str, field: str | None) -> None:
    """Raise if a name that no file has cannot be meant as a text."""
    is_one_word = len(name.split()) == 1
    if (Format.of(name) is not None or name.lower().endswith((".gz", ".zst"))) and is_one_word:
        raise FileProblem(
            f"cannot read {printable(name)}: No such file; --as-text scores the word itself"
        )
    if field is not None:
        raise FileProblem(
            f"--field reads a file, and there is no file {printable(name)[:100]}"
            if is_one_word
            else "--field reads a file, and the argument is a text"
        )


def _checked(name: str, form: Format, field: str | None) -> InputFile:
    if field is not None and not form.has_columns:
        raise InvalidInput(
            "--field needs rows with fields, and plain lines have none: say --format jsonl, csv, "
            "tsv or parquet"
        )
    return InputFile(name, form, field or _DEFAULT_FIELD)


def _unknown(name: str) -> str:
    if Path(name).is_dir():
        return f"{printable(name)} is a folder: name a file; --as-text scores the word itself"
    forms = ", ".join(form.value for form in Format)
    return (
        f"{printable(name)} is a file, and its name does not say what is in it: --format names it "
        f"({forms}); --as-text scores the word itself"
    )


def _is_input(argument: str) -> bool:
    is_named = argument == STANDARD_INPUT or argument.startswith(HUB) or names_database(argument)
    return is_named or _exists(argument) or _matches(argument)


def _matches(pattern: str) -> bool:
    try:
        return glob.has_magic(pattern) and any(map(_exists, glob.iglob(pattern)))  # noqa: PTH207
    except (OSError, ValueError):
        return False


def _exists(name: str) -> bool:
    try:
        return bool(name) and Path(name).exists()
    except (OSError, ValueError):  # Too long for a path, or a NUL in it.
        return False
