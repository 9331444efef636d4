"""Which files the input of a run names: files, patterns, folders, standard input."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sentq.files.formats import STANDARD_INPUT, FileProblem, Format

__all__ = ["HUB", "find_files", "format_of"]

#: How the name of a data set of the Hugging Face Hub begins.
HUB: Final = "hf://"


def find_files(arguments: Sequence[str]) -> list[str]:
    """Return the files that arguments name; of a folder and of a pattern, in the order of names.

    In a folder, files whose names begin with `.` or `_` are left out, as all tools for Parquet do.

    Raises:
        FileProblem: There is no such file, or a folder has none of a known format.
    """
    found: list[str] = []
    for argument in arguments:
        path = Path(argument)
        if argument == STANDARD_INPUT:
            found.append(argument)
        elif path.is_dir():
            found += _files_in(path)
        elif path.exists():
            found.append(argument)
        elif glob.has_magic(argument):
            matching = sorted(name for name in glob.glob(argument) if Path(name).is_file())  # noqa: PTH207
            if not matching:
                raise FileProblem(f"no file matches {argument}")
            found += matching
        elif argument.startswith(HUB):
            raise FileProblem(
                f"{argument}: `sentq-worker score` fetches data sets of the Hub; or fetch it with "
                "`hf download --repo-type dataset` and give its files"
            )
        else:
            raise FileProblem(f"cannot read {argument}: No such file")
    if STANDARD_INPUT in found and len(found) > 1:
        raise FileProblem("standard input (-) cannot be one of several inputs")
    return found


def format_of(files: Sequence[str], chosen: Format | None) -> Format:
    """Return the format of all files.

    Raises:
        FileProblem: A name does not say it, or the files have several ones.
    """
    if chosen is not None:
        return chosen
    if files == [STANDARD_INPUT]:
        return Format.TXT
    forms = {file: Format.of(file) for file in files}
    for file, form in forms.items():
        if form is None:
            known = ", ".join(each.value for each in Format)
            raise FileProblem(f"the name {file} does not say its format: --format takes {known}")
    found = {form for form in forms.values() if form is not None}
    if len(found) > 1:
        raise FileProblem(
            f"the files have several formats ({', '.join(sorted(found))}): score them one by one"
        )
    return found.pop()


def _files_in(folder: Path) -> list[str]:
    files = sorted(
        str(each)
        for each in folder.iterdir()
        if each.is_file() and each.name[0] not in "._" and Format.of(each.name)
    )
    if not files:
        raise FileProblem(f"the folder {folder} has no file of a known format")
    return files
