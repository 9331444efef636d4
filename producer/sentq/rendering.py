"""Write outcomes as a table or as JSON lines."""

from __future__ import annotations

from typing import Protocol, TextIO

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sentq.contract import Outcome, Prediction, TextError, TextPart

__all__ = ["JsonLines", "Presenter", "Table", "printable", "progress_bar"]

_COLOURS = {"positive": "green", "negative": "red", "neutral": "cyan"}

_LABEL_WIDTH = 10
_NUMBER_WIDTH = 6
_MIN_TEXT_WIDTH = 20


class Presenter(Protocol):
    """Writes outcomes one by one, as they arrive."""

    def show(self, number: int, text: object, outcome: Outcome) -> None:
        """Write the outcome of text `number`, counted from 1."""
        ...


class JsonLines:
    """Writes a JSON object for each outcome.

    It has `n`, the text unless it is left out, and the fields of the outcome or `error` with `code`
    and `message`.
    """

    def __init__(self, stream: TextIO, *, with_text: bool) -> None:
        self._stream = stream
        self._with_text = with_text

    def show(self, number: int, text: object, outcome: Outcome) -> None:
        row: dict[str, object] = {"n": number}
        if self._with_text:
            row["text"] = printable(text) if isinstance(text, str) else None
        fields = outcome.model_dump(mode="json")
        if isinstance(outcome, Prediction) and outcome.parts is None:
            del fields["parts"], fields["mixed"]
        row |= {"error": fields} if isinstance(outcome, TextError) else fields
        self._stream.write(orjson.dumps(row).decode() + "\n")


class Table:
    """Writes aligned columns that fit the terminal, as the outcomes arrive.

    The code of its language precedes a text that the model does not read. The parts of a text
    follow it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        numbers = 2 * (_NUMBER_WIDTH + 2)
        self._text_width = max(_MIN_TEXT_WIDTH, self._console.width - _LABEL_WIDTH - 2 - numbers)
        self._has_header = False

    def show(self, number: int, text: object, outcome: Outcome) -> None:  # noqa: ARG002
        if not self._has_header:
            self._write(("label", "bold"), "score", "polar", ("text", "bold"))
            self._has_header = True
        shown = " ".join(printable(text).split()) if isinstance(text, str) else ""
        if isinstance(outcome, TextError):
            self._write((str(outcome.code), "yellow"), "", "", (outcome.message, "yellow"))
            return
        polarity = "" if outcome.sentiment is None else f"{outcome.sentiment:+.2f}"
        colour = _COLOURS.get(outcome.label, "")
        if outcome.language_supported is False:
            # The scores of such a text mean little.
            shown, colour = f"[{outcome.language}] {shown}", "dim"
        if outcome.mixed:
            shown = f"[mixed] {shown}"
        self._write((outcome.label, colour), f"{outcome.score:.3f}", polarity, (shown, ""))
        if isinstance(text, str) and outcome.parts and len(outcome.parts) > 1:
            for part in outcome.parts:
                self._show_part(text, part)

    def _show_part(self, text: str, part: TextPart) -> None:
        shown = " ".join(printable(text[part.start : part.end]).split())
        polarity = "" if part.sentiment is None else f"{part.sentiment:+.2f}"
        colour = _COLOURS.get(part.label, "")
        self._write(
            (f" {part.label}", colour), f"{part.score:.3f}", polarity, (f"  {shown}", "dim")
        )

    def _write(
        self, label: tuple[str, str], score: str, polarity: str, text: tuple[str, str]
    ) -> None:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{label[0]:<{_LABEL_WIDTH}}  ", style=label[1])
        line.append(f"{score:>{_NUMBER_WIDTH}}  {polarity:>{_NUMBER_WIDTH}}  ")
        shown = Text(*text)
        shown.truncate(self._text_width, overflow="ellipsis")
        self._console.print(line + shown, no_wrap=True, overflow="ellipsis", crop=True)


def progress_bar(console: Console, *, disable: bool) -> Progress:
    """Return a progress bar on a console. It shows nothing if that is not a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=disable or not console.is_terminal,
    )


def printable(text: str) -> str:
    """Return a text without invalid Unicode and without control characters of terminals."""
    valid = text.encode("utf-8", "replace").decode()
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in valid
    )
