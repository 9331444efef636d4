"""What engines and providers count, and how a worker reads that through all that wraps them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["BudgetUse", "EngineCounts", "SupportsCounts", "counts_of"]


class BudgetUse(NamedTuple):
    """How much of one limit of the Hub's budget all workers have used.

    Attributes:
        period: What the limit is for: a `day` or a `month`, in UTC.
        unit: What is limited: `calls` or `chars`.
        used: How many were used in the present period.
        limit: How many are permitted.
        is_used_up: Whether nothing is left, or too little for the call that was asked for last.
        at_s: When it was counted: Unix seconds by Redis' clock.
    """

    period: str
    unit: str
    used: int
    limit: int
    is_used_up: bool
    at_s: float


@dataclass(frozen=True, slots=True)
class EngineCounts:
    """Counts since the worker started. A key is there as soon as it can be counted.

    Attributes:
        tokens: Tokens that the local model has read: `text`, and `padding`.
        hub_calls: Calls of the Hub, by their result.
        cache: `hits` and `misses` of texts in the cache of predictions, `forged` entries, and
            `errors` of Redis.
        hub_budget: The limits of the Hub's budget. Nothing before the first call.
        model_texts: Texts with an outcome of a local model, by its name.
        shadow_texts: Texts that the candidate of a roll has scored in the shadow of the serving
            model: `agreed` and `differed` in the label, `failed`.
        shadow_difference: The sum of the differences of their scores, each from 0 to 1.
        candidate_failures: Jobs of the candidate's share on which it failed.
    """

    tokens: Counter[str] = field(default_factory=Counter)
    hub_calls: Counter[str] = field(default_factory=Counter)
    cache: Counter[str] = field(default_factory=Counter)
    hub_budget: tuple[BudgetUse, ...] = ()
    model_texts: Counter[str] = field(default_factory=Counter)
    shadow_texts: Counter[str] = field(default_factory=Counter)
    shadow_difference: float = 0.0
    candidate_failures: int = 0

    def __add__(self, other: EngineCounts) -> EngineCounts:
        return EngineCounts(
            _sum(self.tokens, other.tokens),
            _sum(self.hub_calls, other.hub_calls),
            _sum(self.cache, other.cache),
            self.hub_budget + other.hub_budget,
            _sum(self.model_texts, other.model_texts),
            _sum(self.shadow_texts, other.shadow_texts),
            self.shadow_difference + other.shadow_difference,
            self.candidate_failures + other.candidate_failures,
        )


@runtime_checkable
class SupportsCounts(Protocol):
    """A provider or a scorer that counts."""

    @property
    def counts(self) -> EngineCounts:
        """What it has counted, and what it wraps. Any thread may read it."""
        ...


def counts_of(part: object) -> EngineCounts:
    """Return the counts of a provider or a scorer; none if it does not count."""
    return part.counts if isinstance(part, SupportsCounts) else EngineCounts()


def _sum(one: Counter[str], other: Counter[str]) -> Counter[str]:
    total = Counter(one)
    total.update(other)  # Unlike `+`, this keeps zeros.
    return total
