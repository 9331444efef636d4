"""The values of JSON lines, one by one. Empty lines are left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from sentq.files.formats import FileProblem
from sentq.files.reading.lines import MAX_ROW_CHARS, TextLines, bad_byte

__all__ = ["JsonLine", "read_json_lines"]


class JsonLine(NamedTuple):
    """A line of JSON.

    Attributes:
        line: Its number, from 1.
        text: The JSON text, without space around it.
        value: The JSON value, of any type; None if there is a problem.
        problem: Why it cannot be read, or None.
        has_bad_byte: Whether the reason is a byte that is not valid in the encoding.
    """

    line: int
    text: str
    value: object
    problem: str | None = None
    has_bad_byte: bool = False


def read_json_lines(lines: TextLines, *, name: str) -> Iterator[JsonLine]:
    """Yield the value of each line.

    Raises:
        FileProblem: It is a JSON document in place of JSON lines.
    """
    is_first = True
    for number, line in enumerate(lines, start=1):
        text = line.text.strip()
        if not text:
            continue
        if is_first and not line.is_cut and (text[0] == "[" or text == "{"):
            raise FileProblem(
                f"{name}, line {number}: a JSON document, not JSON lines; write one object on each "
                "line: jq -c '.[]' does that with an array"
            )
        is_first = False
        if line.is_cut:
            yield JsonLine(number, "", None, f"more than {MAX_ROW_CHARS:,} characters in a line")
            continue
        try:
            yield JsonLine(number, text, orjson.loads(text))
        except orjson.JSONDecodeError:
            yield _second_reading(number, text, lines.encoding)


def _second_reading(number: int, text: str, encoding: str) -> JsonLine:
    """Read a line that orjson refuses.

    Python's own module reads what it writes beyond the standard: NaN, and halves of surrogate
    pairs, which make a text that cannot be scored and no line that cannot be read.
    """
    place = bad_byte(text, encoding, first_line=number)
    if place is not None:
        return JsonLine(number, "", None, place, has_bad_byte=True)
    try:
        return JsonLine(number, text, json.loads(text))
    except (ValueError, RecursionError):
        return JsonLine(number, "", None, "not valid JSON")
