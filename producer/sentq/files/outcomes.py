"""The columns of outcomes, which a run adds to the columns of its input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sentq.contract import Outcome, TextError
from sentq.files.formats import FileProblem

__all__ = ["DEFAULT_PARTS", "DEFAULT_PREFIX", "PARTS", "OutcomeColumns", "OutcomeType"]

#: The type of a column: `scores` holds a number for each label, `parts` a list of objects.
OutcomeType = Literal["string", "double", "int64", "bool", "scores", "parts"]

#: What of an outcome may be a column, and its type.
PARTS: Final[dict[str, OutcomeType]] = {
    "label": "string",
    "score": "double",
    "scores": "scores",
    "sentiment": "double",
    "tokens": "int64",
    "windows": "int64",
    "language": "string",
    "language_confidence": "double",
    "language_supported": "bool",
    "model": "string",
    "mixed": "bool",
    "parts": "parts",
    "error": "string",
    "message": "string",
}

DEFAULT_PARTS: Final = ("label", "score", "sentiment", "error", "message")
#: What only a run with detail has, and the columns of such a run.
_OF_DETAIL: Final = ("mixed", "parts")
_PARTS_WITH_DETAIL: Final = ("label", "score", "sentiment", *_OF_DETAIL, "error", "message")
DEFAULT_PREFIX: Final = "sentq_"


@dataclass(frozen=True, slots=True)
class OutcomeColumns:
    """The columns of outcomes, in order.

    Attributes:
        parts: Parts of an outcome, of `PARTS`.
        prefix: What the names of their columns begin with.
    """

    parts: tuple[str, ...] = DEFAULT_PARTS
    prefix: str = DEFAULT_PREFIX

    @classmethod
    def parse(cls, parts: str | None, prefix: str, *, detail: bool = False) -> OutcomeColumns:
        """Return the columns that options name, separated by commas; None for the default.

        Args:
            parts: The names.
            prefix: What the names of the columns begin with.
            detail: Whether outcomes have parts.

        Raises:
            FileProblem: There is no such part, or it needs detail.
        """
        if parts is None:
            return cls.default(prefix, detail=detail)
        chosen = tuple(dict.fromkeys(part.strip() for part in parts.split(",")))
        for part in chosen:
            if part not in PARTS:
                raise FileProblem(
                    f"{part!r} is not a part of an outcome: --columns takes {', '.join(PARTS)}"
                )
            if part in _OF_DETAIL and not detail:
                raise FileProblem(
                    f"--columns {part} needs --split sentences, paragraphs or windows"
                )
        return cls(chosen, prefix)

    @classmethod
    def default(cls, prefix: str, *, detail: bool) -> OutcomeColumns:
        """Return the columns that are added if none are named."""
        return cls(_PARTS_WITH_DETAIL if detail else DEFAULT_PARTS, prefix)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.prefix + part for part in self.parts)

    @property
    def types(self) -> tuple[OutcomeType, ...]:
        """The types of the columns."""
        return tuple(PARTS[part] for part in self.parts)

    def values(self, outcomes: Sequence[Outcome]) -> list[list[object]]:
        """Return the values of outcomes, a list for each column; None for what one has not."""
        return [_values_of(part, outcomes) for part in self.parts]

    def rows(self, outcomes: Sequence[Outcome]) -> Iterator[tuple[object, ...]]:
        """Yield the values of each outcome, in the order of the columns."""
        return zip(*self.values(outcomes), strict=True)

    def check(self, names: Sequence[str]) -> None:
        """Check that an input has none of these columns.

        Raises:
            FileProblem: It has one.
        """
        if taken := [name for name in self.names if name in names]:
            raise FileProblem(
                f"the input has a column {taken[0]!r} already: it was scored before, or --prefix "
                "must choose other names"
            )


def _values_of(part: str, outcomes: Sequence[Outcome]) -> list[object]:
    if part == "error":
        return [each.code.value if isinstance(each, TextError) else None for each in outcomes]
    if part == "message":
        return [each.message if isinstance(each, TextError) else None for each in outcomes]
    if part == "parts":
        return [_parts_of(each) for each in outcomes]
    return [None if isinstance(each, TextError) else getattr(each, part) for each in outcomes]


def _parts_of(outcome: Outcome) -> list[dict[str, object]] | None:
    if isinstance(outcome, TextError) or outcome.parts is None:
        return None
    return [part.model_dump() for part in outcome.parts]
