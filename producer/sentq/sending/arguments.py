"""Checks of what callers give to a client, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import count, repeat
from typing import Final, TypeVar

from sentq.contract import (
    NO_OPTIONS,
    Detail,
    JobOptions,
    Limits,
    check_detail,
    check_job,
    is_number,
)
from sentq.errors import EtaTooFar, InvalidInput, NotAString
from sentq.sending.sender import SendOptions

__all__ = [
    "check_counts",
    "checked_at_s",
    "checked_deadline_s",
    "checked_delay_s",
    "checked_keys",
    "checked_options",
    "checked_texts",
    "not_several",
    "options_of_parts",
    "several",
]

T = TypeVar("T")

_LONGEST_DEADLINE_S: Final = 365 * 24 * 60 * 60


def checked_texts(
    texts: str | Sequence[str], limits: Limits, detail: Detail | None = None
) -> Sequence[str]:
    """Return the texts of a job as a list.

    Raises:
        InvalidInput: A text breaks a limit; the message says which.
    """
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, (list, tuple)):
        raise NotAString(f"a job is a text or a list of texts, not {type(texts).__name__}")
    check_job(texts, limits)
    if detail is not None:
        check_detail(detail, len(texts))
    return texts


def several(values: Iterable[T], call: str, what: str) -> Iterable[T]:
    """Return the values, unless they are one string: its characters would be taken for them.

    Raises:
        InvalidInput: They are one string, or not iterable.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise not_several(values, call, what)
    return values


def not_several(values: object, call: str, what: str) -> InvalidInput:
    """Return the error for one value in place of several."""
    return InvalidInput(
        f"{call} takes several {what}, such as a list, not {type(values).__name__}; "
        "put a single one into a list"
    )


def check_counts(**counts: object) -> None:
    """Reject counts that are no whole numbers, or less than 1.

    Raises:
        InvalidInput: The message names the count.
    """
    for name, value in counts.items():
        if type(value) is not int or value < 1:
            raise InvalidInput(f"{name} must be a whole number of at least 1")


def checked_keys(keys: Iterable[str] | None, jobs: int) -> Sequence[str]:
    """Return the idempotency keys of so many jobs; none at all for None.

    Raises:
        InvalidInput: There is not one for each, or one is no string or empty.
    """
    if keys is None:
        return ()
    checked = list(several(keys, "submit_many", "keys"))
    if len(checked) != jobs:
        raise InvalidInput(f"{len(checked)} keys for {jobs} jobs: there must be one for each")
    if not all(key and isinstance(key, str) for key in checked):
        raise InvalidInput("a key must be a string that is not empty")
    return checked


def checked_options(**options: object) -> JobOptions:
    """Return what a job asks for; None counts as not given.

    Raises:
        InvalidInput: One of the options does not fit.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return JobOptions.checked(given) if given else NO_OPTIONS


def options_of_parts(
    key: str | None,
    *,
    local_only: bool,
    detail: Detail | None = None,
    asked: JobOptions = NO_OPTIONS,
) -> Iterator[SendOptions]:
    """Return the options of the jobs of a stream, one after the other, each with a key of its own
    if the stream has one.

    Raises:
        InvalidInput: The key is no string or empty.
    """
    if key is None:
        return repeat(SendOptions(local_only=local_only, detail=detail, asked=asked))
    (checked,) = checked_keys([key], 1)
    return (
        SendOptions([f"{checked}\0{part}"], local_only=local_only, detail=detail, asked=asked)
        for part in count()
    )


def checked_deadline_s(deadline: float | None) -> float | None:
    """Return a deadline in seconds, or None for none.

    Raises:
        InvalidInput: It is no number, not positive, or more than a year away.
    """
    if deadline is None:
        return None
    if not is_number(deadline) or not 0 < deadline < _LONGEST_DEADLINE_S:
        raise InvalidInput(
            "a deadline must be a positive number of seconds, less than a year"
            + ("" if is_number(deadline) else f", not {type(deadline).__name__}")
        )
    return deadline


def checked_delay_s(delay: float | None, *, max_eta_s: float) -> float | None:
    """Return a delay in seconds, or None for none.

    Raises:
        InvalidInput: It is no number, or negative.
        EtaTooFar: It is longer than `max_eta_s`.
    """
    if delay is None:
        return None
    if not is_number(delay) or not delay >= 0:
        kind = "" if is_number(delay) else f", not {type(delay).__name__}"
        raise InvalidInput(f"a delay must be a number of seconds, 0 or more{kind}")
    if delay > max_eta_s:
        raise EtaTooFar(f"a delay of {delay:,.0f} s; max_eta_s is {max_eta_s:,.0f} s")
    return delay


def checked_at_s(at: datetime | None) -> float | None:
    """Return a date in Unix seconds, or None for none.

    Raises:
        InvalidInput: It is no date, or has no time zone.
    """
    if at is None:
        return None
    if not isinstance(at, datetime):
        raise InvalidInput(f"at must be a datetime with a time zone, not {type(at).__name__}")
    if at.utcoffset() is None:
        raise InvalidInput(
            "at must have a time zone, as datetime.now(UTC) and local.astimezone() have"
        )
    return at.timestamp()
