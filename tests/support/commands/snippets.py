"""The code that documents show: its blocks, the commands in them, and the outputs.

A comment on the line before a block says how it is tested:

- none: it is run, and what it prints is what the document shows;
- `<!-- snippet: parsed -->`: its commands are read by the option parsers of the programs, and not
  run: they would not end, or need a model, a host or files of the reader's;
- `<!-- snippet: gateway -->`: it is run beside a gateway, and what it prints is what the document
  shows; the blocks of a document are run in their order;
- `<!-- snippet: from FILE -->`: its lines stand in this file, which has tests of its own;
- `<!-- snippet: test -->`: it holds tests, which pytest runs with the plugin of sentq;
- `<!-- snippet: not run, REASON -->`: it is not tested.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["DOCUMENTS", "Snippet", "commands", "docstring_of", "shown_session", "snippets"]

ROOT: Final = Path(__file__).parents[3]

#: The documents whose code is tested. The READMEs of `examples` are in tests/examples.
DOCUMENTS: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

_BLOCK: Final = re.compile(
    r"^(?:<!-- snippet: (?P<mark>[^>]+?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Snippet:
    """One block of code in a document.

    Attributes:
        document: The file.
        line: The line of the block's fence.
        language: What stands at the fence.
        mark: What the comment before it says; empty if there is none.
        code: The lines of the block.
    """

    document: Path
    line: int
    language: str
    mark: str
    code: str

    @property
    def source(self) -> Path | None:
        """The file that the block is a part of; None if it stands in no file."""
        _, prefix, file = self.mark.rpartition("from ")
        return ROOT / file if prefix else None

    @property
    def name(self) -> str:
        """File and line."""
        return f"{self.document.name}:{self.line}"


def snippets(document: Path) -> Iterator[Snippet]:
    """Yield the blocks of code of a document, in order."""
    text = document.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, text.index("```", found.start())) + 1
        yield Snippet(document, line, found["language"], found["mark"] or "", found["code"])


def commands(code: str) -> Iterator[tuple[str, str]]:
    r"""Yield each command after `$ `, and the output that stands below it.

    A command goes on after a `\` at the end of its line.
    """
    for found in re.finditer(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", code, re.MULTILINE):
        yield found[1], found[2]


def docstring_of(file: Path) -> str:
    """Return the docstring of a program."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")), clean=False)
    assert docstring is not None, file
    return f"{docstring}\n"


def shown_session(source: str) -> Iterator[tuple[str, str]]:
    """Yield the commands that a docstring shows, each with the output that it shows."""
    blocks = re.findall(r"^    \$ (.+)\n((?:    (?!\$ ).+\n)*)", source, re.MULTILINE)
    for command, output in blocks:
        yield command, re.sub("^    ", "", output, flags=re.MULTILINE)
