"""The rules of the HorizontalPodAutoscaler for external metrics with average values.

They are those of https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ and of
KEP-853. Where the documents say nothing, such as how to round, they are those of its controller
(pkg/controller/podautoscaler of Kubernetes).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["DEFAULT_DOWN", "DEFAULT_UP", "SYNC_PERIOD_S", "Hpa", "Policy", "ScalingRules"]

#: The defaults of `--horizontal-pod-autoscaler-sync-period` and `…-tolerance`.
SYNC_PERIOD_S: Final = 15.0
_TOLERANCE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Policy:
    """How much may change within a period: so many `Pods`, or so many `Percent`."""

    type: str
    value: int
    period_s: float

    def limit(self, start: int, *, is_up: bool) -> int:
        """Return the most or the fewest replicas, after `start` at the beginning of the period."""
        change = self.value if self.type == "Pods" else start * self.value / 100
        # The controller makes the larger of two possible changes.
        return math.ceil(start + change) if is_up else math.floor(start - change)


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """The rules of one direction.

    Attributes:
        window_s: The stabilization window.
        policies: At least one.
        select: Which policy counts: the one that changes most (`Max`), least (`Min`), or none
            (`Disabled`): nothing changes.
    """

    window_s: float
    policies: tuple[Policy, ...]
    select: str = "Max"

    @classmethod
    def from_manifest(cls, given: Mapping[str, Any], default: ScalingRules) -> ScalingRules:
        """Read them; what is not there is that of `default`."""
        policies = tuple(
            Policy(each["type"], each["value"], each["periodSeconds"])
            for each in given.get("policies", ())
        )
        return cls(
            given.get("stabilizationWindowSeconds", default.window_s),
            policies or default.policies,
            given.get("selectPolicy", default.select),
        )


#: The rules of an autoscaler that states none.
DEFAULT_UP: Final = ScalingRules(0, (Policy("Pods", 4, 15), Policy("Percent", 100, 15)))
DEFAULT_DOWN: Final = ScalingRules(300, (Policy("Percent", 100, 15),))


class Hpa:
    """Decides how many replicas there are, from 1 to a maximum.

    Args:
        targets: The average value of each metric for a replica.
        max_replicas: The maximum.
        up: The rules for more replicas.
        down: The rules for fewer.
    """

    def __init__(
        self,
        targets: Sequence[float],
        max_replicas: int,
        up: ScalingRules = DEFAULT_UP,
        down: ScalingRules = DEFAULT_DOWN,
    ) -> None:
        self._targets = targets
        self._max_replicas = max_replicas
        self._up = up
        self._down = down
        #: Time and number of each recommendation; time and size of each change.
        self._recommended: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def decide(self, now_s: float, replicas: int, metrics: Sequence[float]) -> int:
        """Return the number of replicas. The caller makes the change.

        Args:
            now_s: A clock.
            replicas: How many there are. With 0 the autoscaler is off.
            metrics: The value of each metric, over all replicas.
        """
        if not replicas:
            return 0
        wanted = self._limited(now_s, replicas, self._stabilized(now_s, replicas, metrics))
        if wanted != replicas:
            self._changes.append((now_s, wanted - replicas))
        return wanted

    def _stabilized(self, now_s: float, replicas: int, metrics: Sequence[float]) -> int:
        """Return the recommendation that changes least within the windows."""
        wanted = max(
            _recommendation(metric, target, replicas)
            for metric, target in zip(metrics, self._targets, strict=True)
        )
        if not self._recommended:
            self._recommended.append((now_s, replicas))
        self._recommended.append((now_s, wanted))
        longest_s = max(self._up.window_s, self._down.window_s)
        while self._recommended[0][0] < now_s - longest_s:
            self._recommended.popleft()
        lowest = min([wanted, *self._since(now_s - self._up.window_s)])
        highest = max([wanted, *self._since(now_s - self._down.window_s)])
        return min(max(replicas, lowest), highest)

    def _since(self, cutoff_s: float) -> list[int]:
        return [number for at_s, number in self._recommended if at_s > cutoff_s]

    def _limited(self, now_s: float, replicas: int, wanted: int) -> int:
        """Return what the policies and the maximum allow of a wanted number."""
        if wanted > replicas:
            limit = self._limit(now_s, replicas, self._up, is_up=True)
            wanted = min(wanted, max(limit, replicas))
        elif wanted < replicas:
            limit = self._limit(now_s, replicas, self._down, is_up=False)
            wanted = max(wanted, min(limit, replicas))
        return min(max(wanted, 1), self._max_replicas)

    def _limit(self, now_s: float, replicas: int, rules: ScalingRules, *, is_up: bool) -> int:
        if rules.select == "Disabled":
            return replicas
        limits = [
            each.limit(self._start(now_s, replicas, each.period_s), is_up=is_up)
            for each in rules.policies
        ]
        return max(limits) if (rules.select == "Max") == is_up else min(limits)

    def _start(self, now_s: float, replicas: int, period_s: float) -> int:
        """Return how many replicas there were when a period began that ends now."""
        return replicas - sum(change for at_s, change in self._changes if at_s > now_s - period_s)


def _recommendation(metric: float, target: float, replicas: int) -> int:
    """Return how many replicas a metric asks for: as many as there are, within the tolerance."""
    if abs(1 - metric / (target * replicas)) <= _TOLERANCE:
        return replicas
    return math.ceil(metric / target)
