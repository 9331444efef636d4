"""Score the texts of a model's rows: read them in pages, and save the outcomes in batches.

    rows by primary key ── pages ──▶ Client.map ──▶ (row, outcome) ──▶ SavedFields, or a file

Nothing is kept open between two pages, so a run may take hours. Memory is bounded by what
`Client.map` reads ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models, transaction

from sentq.contract import Outcome, TextError
from sentq.errors import InvalidInput

__all__ = ["PARTS", "Row", "SavedFields", "TextColumn", "scored_rows"]

#: What of an outcome may be saved, by the name of the attribute. `error` is the code of a text that
#: could not be scored.
PARTS: Final = (
    *("label", "score", "scores", "sentiment", "tokens", "windows"),
    *("language", "language_confidence", "language_supported", "error"),
)

#: How many rows a query reads.
_ROWS_PER_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """The text of one row.

    Attributes:
        pk: The primary key.
        text: The text, as it was read.
    """

    pk: Any
    text: str


class TextColumn:
    """The texts of a field of a model.

    Args:
        model: The model.
        field: The name of the field.
        database: The alias of the database.

    Raises:
        InvalidInput: The model has no such field, or it holds no text.
    """

    def __init__(self, model: type[models.Model], field: str, database: str) -> None:
        self.model = model
        self.field = field
        self.database = database
        if not isinstance(field_of(model, field), (models.CharField, models.TextField)):
            raise InvalidInput(f"{model._meta.label}.{field} is not a field of text")

    @property
    def rows(self) -> models.QuerySet[Any]:
        """The rows that have a text."""
        rows = self.model._default_manager.using(self.database)
        return rows.exclude(**{f"{self.field}__isnull": True}).exclude(**{self.field: ""})

    def primary_key(self, written: object) -> Any:
        """Return a primary key that was written as JSON; None for None.

        Raises:
            InvalidInput: The model has no such keys.
        """
        try:
            return self.model._meta.pk.to_python(written)
        except ValidationError:
            name = self.model._meta.label
            raise InvalidInput(f"{written!r} is not a primary key of {name}") from None

    def pages(self, rows: models.QuerySet[Any], *, after: Any = None) -> Iterator[Row]:
        """Yield rows in the order of their primary keys, a query for each page.

        Args:
            rows: The rows to read.
            after: The primary key after which to begin; None for the first one.
        """
        last = after
        while True:
            page = rows if last is None else rows.filter(pk__gt=last)
            found = list(page.order_by("pk").values_list("pk", self.field)[:_ROWS_PER_PAGE])
            if not found:
                return
            for pk, text in found:
                yield Row(pk, text)
            last = found[-1][0]


class SavedFields:
    """Saves parts of outcomes in fields of the rows.

    A row is scored if one of these fields has a value that is neither NULL nor an empty string.
    `unscored` returns the others, so a run that was interrupted goes on where it ended.

    Args:
        column: The texts.
        fields: The name of a field for each part of `PARTS` that is to be saved.

    Raises:
        InvalidInput: A part or a field does not exist, or a field of numbers cannot be NULL.

    Attributes:
        saved: How many rows were saved.
        changed: How many rows were not, because their text was changed or they were deleted
            meanwhile.
    """

    def __init__(self, column: TextColumn, fields: Mapping[str, str]) -> None:
        self._column = column
        self._fields = fields
        self._empty: dict[str, str | None] = {}
        for part, name in fields.items():
            if part not in PARTS:
                raise InvalidInput(f"{part} is not a part of an outcome; there are {_list(PARTS)}")
            field = field_of(column.model, name)
            if not field.null and not isinstance(field, (models.CharField, models.TextField)):
                raise InvalidInput(
                    f"{column.model._meta.label}.{name} needs null=True: without it, a row that "
                    "is not scored yet cannot be told from one that is"
                )
            self._empty[name] = None if field.null else ""
        self.saved = self.changed = 0

    def unscored(self, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Return the rows that are not scored yet."""
        for name in self._empty:
            field = field_of(self._column.model, name)
            is_empty = models.Q(**{f"{name}__isnull": True})
            if isinstance(field, (models.CharField, models.TextField)):
                is_empty |= models.Q(**{name: ""})
            rows = rows.filter(is_empty)
        return rows

    def save(self, outcomes: Sequence[tuple[Row, Outcome]]) -> None:
        """Save outcomes in one transaction.

        A row is updated only if it still has the text that was scored. Other fields, `save()` of
        the model and its signals are not involved.
        """
        column = self._column
        rows = column.model._default_manager.using(column.database)
        with transaction.atomic(using=column.database):
            for row, outcome in outcomes:
                values = self._values(outcome)
                if not values:
                    continue
                same = rows.filter(**{"pk": row.pk, column.field: row.text})
                if same.update(**values):
                    self.saved += 1
                else:
                    self.changed += 1

    def _values(self, outcome: Outcome) -> dict[str, object]:
        if isinstance(outcome, TextError):
            # The outcome of an earlier run, if there was one, stays.
            errors = [name for part, name in self._fields.items() if part == "error"]
            return dict.fromkeys(errors, str(outcome.code))
        values = {
            name: None if part == "error" else getattr(outcome, part)
            for part, name in self._fields.items()
        }
        return {
            name: self._empty[name] if value is None else value for name, value in values.items()
        }


#: Scores texts in order, as `Client.map` does.
ScoreTexts: TypeAlias = Callable[[Iterator[str]], Iterator[Outcome]]


def scored_rows(rows: Iterable[Row], score: ScoreTexts) -> Iterator[tuple[Row, Outcome]]:
    """Yield each row with its outcome, in order."""
    sent: deque[Row] = deque()

    def texts() -> Iterator[str]:
        for row in rows:
            sent.append(row)
            yield row.text

    for outcome in score(texts()):
        yield sent.popleft(), outcome


def field_of(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    """Return a field of a model.

    Raises:
        InvalidInput: There is no such field; the message lists all.
    """
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        names = sorted(field.name for field in model._meta.concrete_fields)
        raise InvalidInput(
            f"{model._meta.label} has no field {name}; it has {_list(names)}"
        ) from None


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
