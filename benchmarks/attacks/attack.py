"""What an attack is: what it needs, what it sends, and what it must not achieve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.attacks.site import AttackSite

__all__ = ["Attack", "Finding", "Sent"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What an attack achieved, beside what the probes say.

    Attributes:
        text: In words, with figures.
        is_held: Whether the service held against it.
    """

    text: str = ""
    is_held: bool = True


@dataclass(frozen=True, slots=True)
class Sent:
    """An attack that has begun.

    Attributes:
        watched: The ids of its jobs whose end is waited for.
        check: Says after the probes what it achieved.
    """

    watched: Sequence[str] = ()
    check: Callable[[], Finding] = Finding


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack of one sender.

    Attributes:
        name: The number in the review, and a few words.
        send: Begins it.
        bundled_model: Whether the worker has the bundled model: the cost of a text matters.
        with_users: Whether Redis has users; the attacker is the producer.
        with_hub: Whether the worker may use a Hub for jobs that waited for more than a minute.
        redis_options: Options of Redis.
        variables: Settings of the worker; those that the version does not know are left out.
    """

    name: str
    send: Callable[[AttackSite], Sent]
    bundled_model: bool = False
    with_users: bool = False
    with_hub: bool = False
    redis_options: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
