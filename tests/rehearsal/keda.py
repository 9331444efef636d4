"""The rules of KEDA for a ScaledObject: activation, and the way from zero and to zero.

They are those of https://keda.sh/docs/2.17/reference/scaledobject-spec/. Each `pollingInterval`
KEDA decides between none and one; from one on, the HorizontalPodAutoscaler that it makes decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tests.rehearsal.hpa import DEFAULT_DOWN, DEFAULT_UP, SYNC_PERIOD_S, Hpa, ScalingRules

__all__ = ["Autoscaler", "ScaledObject", "Trigger"]


@dataclass(frozen=True, slots=True)
class Trigger:
    """A number that decides.

    Attributes:
        name: What it is: a field of `/v1/scale`, or a list of Redis.
        target: Its value for each replica.
        activation: The trigger is active above this value.
    """

    name: str
    target: float
    activation: float = 0.0


@dataclass(frozen=True, slots=True)
class ScaledObject:
    """What a manifest says of scaling; the defaults are KEDA's.

    Attributes:
        triggers: At least one. The one that asks for most replicas counts.
        polling_s: `pollingInterval`.
        cooldown_s: `cooldownPeriod`: for how long no trigger is active before there are none.
        min_replicas: The fewest replicas.
        max_replicas: The most.
        up: The rules of the autoscaler for more replicas.
        down: The rules for fewer.
    """

    triggers: tuple[Trigger, ...]
    polling_s: float = 30
    cooldown_s: float = 300
    min_replicas: int = 0
    max_replicas: int = 100
    up: ScalingRules = DEFAULT_UP
    down: ScalingRules = DEFAULT_DOWN

    @classmethod
    def from_manifest(cls, spec: Mapping[str, Any]) -> Self:
        """Read the `spec` of a ScaledObject whose triggers are of the type `metrics-api`."""
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        return cls(
            triggers=tuple(_trigger(each["metadata"]) for each in spec["triggers"]),
            polling_s=spec["pollingInterval"],
            cooldown_s=spec["cooldownPeriod"],
            min_replicas=spec["minReplicaCount"],
            max_replicas=spec["maxReplicaCount"],
            up=ScalingRules.from_manifest(behavior["scaleUp"], DEFAULT_UP),
            down=ScalingRules.from_manifest(behavior["scaleDown"], DEFAULT_DOWN),
        )


class Autoscaler:
    """KEDA and its HorizontalPodAutoscaler.

    Args:
        scaled: The rules.
        now_s: A clock, at the start.
    """

    def __init__(self, scaled: ScaledObject, now_s: float) -> None:
        self._scaled = scaled
        targets = [each.target for each in scaled.triggers]
        self._hpa = Hpa(targets, scaled.max_replicas, scaled.up, scaled.down)
        self._poll_at_s = self._sync_at_s = self._active_at_s = now_s

    def is_due(self, now_s: float) -> bool:
        """Whether one of them looks at the triggers now."""
        return now_s >= min(self._poll_at_s, self._sync_at_s)

    def decide(self, now_s: float, replicas: int, values: Sequence[float]) -> int:
        """Return the number of replicas. The caller makes the change.

        Args:
            now_s: The clock.
            replicas: How many there are, or are being started.
            values: The present value of each trigger.
        """
        if now_s >= self._poll_at_s:
            self._poll_at_s += self._scaled.polling_s
            replicas = self._poll(now_s, replicas, values)
        if now_s >= self._sync_at_s:
            self._sync_at_s += SYNC_PERIOD_S
            replicas = self._hpa.decide(now_s, replicas, values)
        return replicas

    def _poll(self, now_s: float, replicas: int, values: Sequence[float]) -> int:
        fewest = self._scaled.min_replicas
        triggers = zip(values, self._scaled.triggers, strict=True)
        if any(value > trigger.activation for value, trigger in triggers):
            self._active_at_s = now_s
            return max(replicas, fewest, 1)
        if fewest == 0 and now_s - self._active_at_s > self._scaled.cooldown_s:
            return 0  # However many there are.
        return max(replicas, fewest)


def _trigger(metadata: Mapping[str, str]) -> Trigger:
    return Trigger(
        metadata["valueLocation"],
        float(metadata["targetValue"]),
        float(metadata.get("activationTargetValue", 0)),
    )
