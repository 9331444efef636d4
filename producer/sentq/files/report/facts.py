"""What a report shows, read from the output of a run. Its size does not grow with the rows."""

from __future__ import annotations

import datetime as dt
import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sentq.files.formats import FileProblem, Format
from sentq.files.reading.records import read_records
from sentq.files.reading.texts import open_for

__all__ = [
    "REPORT_PARTS",
    "Example",
    "ReportFacts",
    "ReportGroup",
    "ReportOptions",
    "check_report_columns",
    "read_facts",
]

#: The parts of an outcome that a report reads.
REPORT_PARTS: Final = ("label", "score", "sentiment", "error")

#: How many bars a distribution has, and how many examples are shown.
_BARS: Final = 20
_EXAMPLES: Final = 5
_LEAST_SURE: Final = 10

#: Most characters of an example.
_EXAMPLE_CHARS: Final = 400

#: Most different categories, and days or months, that are counted one by one.
_MAX_GROUPS: Final = 5000

#: Days are joined to months, and months to years, if there are more bars than these.
_MAX_PERIODS: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """What a report shows.

    Attributes:
        field: The column of texts.
        prefix: What the names of the columns of outcomes begin with.
        date: The column of dates, if any.
        category: The column of categories, if any.
    """

    field: str
    prefix: str
    date: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Example:
    """A text that is shown."""

    score: float
    text: str
    label: str = field(compare=False)


@dataclass(slots=True)
class ReportGroup:
    """The rows of one category, or of one time.

    Attributes:
        labels: How many rows have each label.
        sentiment: The sum of the sentiments, and how many rows have one.
    """

    labels: Counter[str] = field(default_factory=Counter)
    sentiment: float = 0.0
    with_sentiment: int = 0

    def add(self, label: str, sentiment: float | None) -> None:
        """Add a row."""
        self.labels[label] += 1
        if sentiment is not None:
            self.sentiment += sentiment
            self.with_sentiment += 1

    def merge(self, other: ReportGroup) -> None:
        """Add the rows of another group."""
        self.labels.update(other.labels)
        self.sentiment += other.sentiment
        self.with_sentiment += other.with_sentiment

    @property
    def rows(self) -> int:
        """How many rows are scored."""
        return self.labels.total()

    @property
    def mean(self) -> float | None:
        """The mean of the sentiments."""
        return self.sentiment / self.with_sentiment if self.with_sentiment else None


@dataclass(slots=True)
class ReportFacts:
    """What a report shows.

    Attributes:
        rows: How many rows there are.
        all: All rows that are scored.
        errors: How many rows have each code of an error.
        scores: How many rows have a score in each twentieth from 0 to 1.
        sentiments: How many rows have a sentiment in each twentieth from -1 to 1.
        chars: How many texts have a length of up to each power of two.
        surest: For each label the rows with the highest scores.
        least_sure: The rows with the lowest scores.
        dates: The rows by day (`2024-02-29`), by month, or by year.
        without_date: How many rows have no date that can be read.
        categories: The rows by category; those beyond the number that is counted are in `other`.
    """

    rows: int = 0
    all: ReportGroup = field(default_factory=ReportGroup)
    errors: Counter[str] = field(default_factory=Counter)
    scores: list[int] = field(default_factory=lambda: [0] * _BARS)
    sentiments: list[int] = field(default_factory=lambda: [0] * _BARS)
    chars: Counter[int] = field(default_factory=Counter)
    surest: dict[str, list[Example]] = field(default_factory=dict)
    least_sure: list[tuple[float, Example]] = field(default_factory=list)
    dates: dict[str, ReportGroup] = field(default_factory=dict)
    without_date: int = 0
    categories: dict[str, ReportGroup] = field(default_factory=dict)
    other: ReportGroup = field(default_factory=ReportGroup)

    def add(self, fields: dict[str, object], options: ReportOptions) -> None:
        """Add a row."""
        self.rows += 1
        prefix = options.prefix
        if error := fields.get(f"{prefix}error"):
            self.errors[str(error)] += 1
            return
        label = str(fields.get(f"{prefix}label"))
        score = _number(fields.get(f"{prefix}score")) or 0.0
        sentiment = _number(fields.get(f"{prefix}sentiment"))
        self.all.add(label, sentiment)
        self.scores[_bar(score)] += 1
        if sentiment is not None:
            self.sentiments[_bar((sentiment + 1) / 2)] += 1
        text = str(fields.get(options.field))
        self.chars[max(0, len(text) - 1).bit_length()] += 1
        self._add_example(Example(score, text[:_EXAMPLE_CHARS], label))
        if options.date is not None:
            self._add_date(fields.get(options.date), label, sentiment)
        if options.category is not None:
            self._add_category(fields.get(options.category), label, sentiment)

    def _add_example(self, example: Example) -> None:
        surest = self.surest.setdefault(example.label, [])
        if len(surest) < _EXAMPLES:
            heapq.heappush(surest, example)
        elif example.score > surest[0].score:
            heapq.heapreplace(surest, example)
        entry = (-example.score, example)
        if len(self.least_sure) < _LEAST_SURE:
            heapq.heappush(self.least_sure, entry)
        elif entry[0] > self.least_sure[0][0]:
            heapq.heapreplace(self.least_sure, entry)

    def _add_date(self, value: object, label: str, sentiment: float | None) -> None:
        day = _day(value)
        if day is None:
            self.without_date += 1
            return
        self.dates.setdefault(day, ReportGroup()).add(label, sentiment)
        if len(self.dates) > _MAX_GROUPS:
            self.dates = _by_period(self.dates, len("2024-02"))

    def _add_category(self, value: object, label: str, sentiment: float | None) -> None:
        name = "" if value is None else str(value)
        if name in self.categories or len(self.categories) < _MAX_GROUPS:
            self.categories.setdefault(name, ReportGroup()).add(label, sentiment)
        else:
            self.other.add(label, sentiment)

    @property
    def periods(self) -> list[tuple[str, ReportGroup]]:
        """The rows by time, in order: by day, or by month or year if there are many."""
        groups = self.dates
        for length in (len("2024-02"), len("2024")):
            if len(groups) > _MAX_PERIODS:
                groups = _by_period(groups, length)
        return sorted(groups.items())


def read_facts(parts: Sequence[Path], form: Format, options: ReportOptions) -> ReportFacts:
    """Read the output of a run.

    Args:
        parts: Its files, in order.
        form: Their format.
        options: What the report shows.

    Raises:
        FileProblem: A file cannot be read, or a column is missing.
    """
    facts = ReportFacts()
    for fields in _rows(parts, form, options):
        facts.add(fields, options)
    return facts


def _rows(
    parts: Iterable[Path], form: Format, options: ReportOptions
) -> Iterator[dict[str, object]]:
    columns = [options.prefix + part for part in REPORT_PARTS]
    columns += [each for each in (options.field, options.date, options.category) if each]
    for part in parts:
        name = str(part)
        with open_for(name, form) as stream:
            for record in read_records(stream, form, name=name, wanted=columns):
                if isinstance(record.value, dict):
                    yield record.value


def check_report_columns(names: Sequence[str], options: ReportOptions) -> None:
    """Check that an input has the columns of dates and categories.

    Raises:
        FileProblem: It has not.
    """
    for option, column in (("--report-date", options.date), ("--report-by", options.category)):
        if column is not None and column not in names:
            raise FileProblem(f"{option}: there is no column {column!r}")


def _bar(share: float) -> int:
    return min(_BARS - 1, max(0, int(share * _BARS)))


def _number(value: object) -> float | None:
    """Return a number; from CSV it is a text."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _day(value: object) -> str | None:
    """Return the day of a date or a time, in ISO 8601; None for anything else."""
    match value:
        case dt.datetime():
            return value.date().isoformat()
        case dt.date():
            return value.isoformat()
        case str():
            try:
                return dt.datetime.fromisoformat(value.strip()).date().isoformat()
            except ValueError:
                return None
        case _:
            return None


def _by_period(groups: dict[str, ReportGroup], length: int) -> dict[str, ReportGroup]:
    """Join groups whose names begin with the same characters."""
    joined: dict[str, ReportGroup] = {}
    for name, group in groups.items():
        joined.setdefault(name[:length], ReportGroup()).merge(group)
    return joined
