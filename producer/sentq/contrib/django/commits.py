"""Submit a job when the transaction commits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from django.db import transaction

from sentq.contract import Detail
from sentq.contrib.django.clients import get_client, get_settings
from sentq.job import Job
from sentq.sending.arguments import checked_texts
from sentq.sending.callback import ThenArgument

__all__ = ["submit_on_commit"]


def submit_on_commit(
    texts: str | Sequence[str],
    *,
    on_submit: Callable[[Job], object] | None = None,
    using: str | None = None,
    robust: bool = False,
    bulk: bool = False,
    key: str | None = None,
    deadline: float | None = None,
    local_only: bool = False,
    detail: Detail | None = None,
    delay: float | None = None,
    at: datetime | None = None,
    then: object = None,
    then_argument: ThenArgument = "id",
    model: str | None = None,
) -> None:
    """Submit a job when the transaction commits; at once if there is no transaction.

    If the transaction is rolled back, nothing is sent. The texts are checked now, so that a view
    can tell its user which one is wrong, and the transaction can still be rolled back.

    Args:
        texts: One text, or up to 256 of them.
        on_submit: Called with the job once it is accepted, such as to save its id.
        using: The database of the transaction.
        robust: Log an error of the submission or of `on_submit`, and raise none.
            `django.db.transaction.on_commit` has the same argument.
        bulk, key, deadline, local_only, detail, delay, at, then, then_argument, model: As for
            `Client.submit`. Deadline and delay count from the commit.

    Raises:
        InvalidInput: The message says which text breaks which limit.
        SettingsError: A setting is unknown or does not fit.

    Raises, after the commit, unless `robust` is set:
        QueueFull, RedisFull, BrokerUnavailable: The job was not accepted. The data is saved.
    """
    checked = tuple(checked_texts(texts, get_settings().sender_limits, detail))

    def submit() -> None:
        job = get_client().submit(
            checked,
            bulk=bulk,
            key=key,
            deadline=deadline,
            local_only=local_only,
            detail=detail,
            delay=delay,
            at=at,
            then=then,
            then_argument=then_argument,
            model=model,
        )
        if on_submit is not None:
            on_submit(job)

    transaction.on_commit(submit, using=using, robust=robust)
