"""What waits in Redis, as steps. A webhook is in one of these places, and each move is one script:

    sentq.webhooks            list         messages that workers have published, as kombu has them
    sentq.webhooks.due        sorted set   id -> when it is due, in Unix milliseconds: now, at its
                                           next attempt, or when the lease of its request expires
    sentq.webhooks.dead       sorted set   id -> when its last attempt failed
    sentq.webhook:<id>        hash         the message or the body; attempts, times, last error
    sentq.webhooks.disabled   sorted set   URL -> when its receiver answered 410

To take a webhook is to make it due later. So a process that is killed with it needs no successor
that knows of it: the webhook is due again when its lease expires.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from sentq.connection.broker import BrokerKeys
from sentq.errors import WebhookRefused, WebhooksFull
from sentq.webhooks.callback import WEBHOOKS_QUEUE
from sentq.wire.functions import FUNCTIONS
from sentq.wire.steps import Command, RoundTrip, ScriptCall, Steps

__all__ = [
    "PAGE_SIZE",
    "LeasedWebhook",
    "RetryReply",
    "Settlement",
    "Taken",
    "WebhookLimits",
    "WebhookPlace",
    "WebhookRow",
    "admit_steps",
    "count_steps",
    "disabled_steps",
    "enable_steps",
    "is_disabled_steps",
    "list_steps",
    "retry_webhook_steps",
    "settle_steps",
    "take_steps",
]

DUE_KEY: Final = "sentq.webhooks.due"
DEAD_KEY: Final = "sentq.webhooks.dead"
DISABLED_KEY: Final = "sentq.webhooks.disabled"
RECORD_PREFIX: Final = "sentq.webhook:"

_TAKE: Final = FUNCTIONS["take_webhooks"]
_SETTLE: Final = FUNCTIONS["settle_webhook"]
_RETRY: Final = FUNCTIONS["retry_webhook"]

#: The fields that are listed: without message and body.
_LISTED: Final = (
    *("url", "owner", "kind", "subject_id", "attempts", "first_ms"),
    *("last_ms", "last_status", "last_error", "lease_ms"),
)

#: Webhooks of one page, which is one round trip.
PAGE_SIZE: Final = 200


@dataclass(frozen=True, slots=True)
class WebhookLimits:
    """How many webhooks may be where.

    Attributes:
        max_waiting: Most that wait.
        max_dead: Most that are kept after their last attempt.
        dead_ttl_s: How long these are kept, in seconds.
    """

    max_waiting: int
    max_dead: int
    dead_ttl_s: int


@dataclass(frozen=True, slots=True)
class LeasedWebhook:
    """A webhook that was taken.

    Attributes:
        id: Its id, the same at each attempt.
        lease_ms: When its lease expires, in Unix milliseconds by Redis' clock.
        fields: What Redis has of it.
    """

    id: str
    lease_ms: int
    fields: Mapping[str, bytes]

    @property
    def attempts(self) -> int:
        """The number of the attempt, from 1."""
        return int(self.fields["attempts"])

    @property
    def first_ms(self) -> int:
        """When it was taken from its queue, or an operator retried it, in Unix milliseconds."""
        return int(self.fields["first_ms"])


@dataclass(frozen=True, slots=True)
class Taken:
    """What one step has taken.

    Attributes:
        now_ms: The time by Redis' clock, in Unix milliseconds.
        may_have_more: Whether others may be due now.
        webhooks: The webhooks.
    """

    now_ms: int
    may_have_more: bool
    webhooks: Sequence[LeasedWebhook]


class Settlement(StrEnum):
    """What became of a webhook that was taken."""

    DELIVERED = "delivered"
    #: It is due again later.
    RETRY = "retry"
    #: It is kept for `sentq webhooks retry`.
    DEAD = "dead"
    #: The same, and webhooks to its URL are not sent any more.
    GONE = "gone"


class RetryReply(StrEnum):
    """What a retry did."""

    RETRIED = "retried"
    IN_FLIGHT = "in_flight"
    NOT_FOUND = "not_found"


class WebhookPlace(StrEnum):
    """Which webhooks to list."""

    WAITING = "waiting"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """A webhook as operators see it.

    Attributes:
        id: Its id, which its receiver knows as `webhook-id`.
        place: Whether it waits, or is dead.
        due_ms: When it is due; of a dead one, when it became one. In Unix milliseconds.
        fields: What Redis has of it, without message and body.
    """

    id: str
    place: WebhookPlace
    due_ms: int
    fields: Mapping[str, str] = field(default_factory=dict)


def take_steps(
    broker: BrokerKeys,
    *,
    most: int,
    lease_s: float,
    limits: WebhookLimits,
    most_per_host: int,
    in_flight: Mapping[str, int],
) -> Steps[Taken]:
    """Take webhooks that are due.

    Args:
        broker: The keys of the broker.
        most: How many at most.
        lease_s: How long they are this process's, in seconds.
        limits: How many may wait.
        most_per_host: How many requests to one host may be under way.
        in_flight: How many are, by host.
    """
    keys = [broker.key(name) for name in (WEBHOOKS_QUEUE, DUE_KEY, DEAD_KEY)]
    arguments: list[object] = [broker.key(RECORD_PREFIX), most, round(lease_s * 1000)]
    arguments += [limits.max_waiting, most_per_host]
    for host, count in in_flight.items():
        arguments += [host, count]
    now_ms, more, webhooks = yield ScriptCall(_TAKE, keys, arguments)
    return Taken(
        int(now_ms),
        bool(more),
        [LeasedWebhook(id_.decode(), int(lease), _fields(pairs)) for id_, lease, pairs in webhooks],
    )


def settle_steps(
    broker: BrokerKeys,
    webhook: LeasedWebhook,
    settlement: Settlement,
    *,
    limits: WebhookLimits,
    delay_s: float = 0.0,
    fields: Mapping[str, object] | None = None,
) -> Steps[bool]:
    """Record what became of a webhook; return False if another process has it by now.

    Args:
        broker: The keys of the broker.
        webhook: As it was taken.
        settlement: What became of it.
        limits: How many dead ones are kept, and how long.
        delay_s: When it is due again, if it is to be retried, in seconds.
        fields: What to write. With a `body`, the message is removed.
    """
    keys = [broker.key(name) for name in (DUE_KEY, DEAD_KEY)]
    keys += [broker.key(f"{RECORD_PREFIX}{webhook.id}"), broker.key(DISABLED_KEY)]
    is_retry = settlement is Settlement.RETRY
    arguments: list[object] = [webhook.id, webhook.lease_ms, settlement]
    arguments += [round(delay_s * 1000) if is_retry else limits.dead_ttl_s, limits.max_dead]
    arguments += [broker.key(RECORD_PREFIX)]
    for name, value in (fields or {}).items():
        arguments += [name, value]
    return bool((yield ScriptCall(_SETTLE, keys, arguments)))


def retry_webhook_steps(broker: BrokerKeys, webhook_id: str) -> Steps[RetryReply]:
    """Have a webhook sent now, waiting or dead. Its URL is disabled no longer."""
    keys = [broker.key(name) for name in (DUE_KEY, DEAD_KEY)]
    keys += [broker.key(f"{RECORD_PREFIX}{webhook_id}"), broker.key(DISABLED_KEY)]
    return RetryReply((yield ScriptCall(_RETRY, keys, [webhook_id])).decode())


def admit_steps(broker: BrokerKeys, url: str, *, max_waiting: int) -> Steps[None]:
    """Check that a job or a batch with this URL may be accepted now.

    Raises:
        WebhookRefused: The receiver has answered 410, and wants no more.
        WebhooksFull: As many webhooks wait as may.
    """
    waiting, queued, disabled = yield RoundTrip(
        [
            ("ZCARD", broker.key(DUE_KEY)),
            ("LLEN", broker.key(WEBHOOKS_QUEUE)),
            ("ZSCORE", broker.key(DISABLED_KEY), url),
        ]
    )
    if disabled is not None:
        raise WebhookRefused(
            "the receiver at callback_url has answered 410 Gone and gets no more webhooks; "
            "`sentq webhooks retry` or `sentq webhooks enable` ends that"
        )
    if waiting + queued >= max_waiting:
        raise WebhooksFull(
            f"{waiting + queued:,} webhooks wait; the limit is {max_waiting:,} "
            "(webhooks.max_waiting)"
        )


def is_disabled_steps(broker: BrokerKeys, url: str) -> Steps[bool]:
    """Return whether the receiver of a URL has answered 410."""
    return (yield ("ZSCORE", broker.key(DISABLED_KEY), url)) is not None


def count_steps(broker: BrokerKeys) -> Steps[dict[WebhookPlace, int]]:
    """Count the webhooks in each place; those in the queue wait too."""
    waiting, queued, dead = yield RoundTrip(
        [
            ("ZCARD", broker.key(DUE_KEY)),
            ("LLEN", broker.key(WEBHOOKS_QUEUE)),
            ("ZCARD", broker.key(DEAD_KEY)),
        ]
    )
    return {WebhookPlace.WAITING: waiting + queued, WebhookPlace.DEAD: dead}


def list_steps(broker: BrokerKeys, place: WebhookPlace, first: int = 0) -> Steps[list[WebhookRow]]:
    """Return a page of webhooks: those that are due first, or that died first, from a rank on. A
    page with fewer than 200 is the last one."""
    key = broker.key(DUE_KEY if place is WebhookPlace.WAITING else DEAD_KEY)
    pairs = _scores((yield ("ZRANGE", key, first, first + PAGE_SIZE - 1, "WITHSCORES")))
    if not pairs:
        return []
    commands: list[Command] = [
        ("HMGET", broker.key(f"{RECORD_PREFIX}{id_}"), *_LISTED) for id_, _ in pairs
    ]
    found = yield RoundTrip(commands)
    return [
        WebhookRow(id_, place, at_ms, _named(values))
        for (id_, at_ms), values in zip(pairs, found, strict=True)
    ]


def disabled_steps(broker: BrokerKeys) -> Steps[list[tuple[str, int]]]:
    """Return the URLs whose receivers have answered 410, and when, in Unix milliseconds."""
    return _scores((yield ("ZRANGE", broker.key(DISABLED_KEY), 0, -1, "WITHSCORES")))


def enable_steps(broker: BrokerKeys, url: str) -> Steps[bool]:
    """Send webhooks to a URL again; return whether that was disabled."""
    return bool((yield ("ZREM", broker.key(DISABLED_KEY), url)))


def _fields(pairs: Sequence[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(pairs[::2], pairs[1::2], strict=True)}


def _named(values: Sequence[bytes | None]) -> dict[str, str]:
    return {
        name: value.decode("utf-8", "replace")
        for name, value in zip(_LISTED, values, strict=True)
        if value is not None
    }


def _scores(reply: Sequence[Any]) -> list[tuple[str, int]]:
    """Return members and scores; a driver gives them in pairs or in turn."""
    if reply and isinstance(reply[0], (tuple, list)):
        return [(member.decode(), int(float(score))) for member, score in reply]
    return [(m.decode(), int(float(s))) for m, s in zip(reply[::2], reply[1::2], strict=True)]
