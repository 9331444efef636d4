"""What is shipped of scaling, read from the manifests that helm rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import yaml

from tests.rehearsal.keda import ScaledObject
from tests.support.kubernetes.files import CHART, MANIFESTS

__all__ = ["WorkerPod", "oldest_target_s", "shipped_scaling", "shipped_worker"]

#: Names of the cluster, and its secrets: the rehearsal has a Redis of its own.
_OF_THE_CLUSTER: Final = ("SENTQ_BROKER_URL", "SENTQ_REDIS_PASSWORD_FILE")


@dataclass(frozen=True, slots=True)
class WorkerPod:
    """A pod of a worker.

    Attributes:
        environment: Its variables, without those of the cluster.
        metrics_port: The port of its metrics.
        grace_s: `terminationGracePeriodSeconds`: how long after SIGTERM it is killed.
    """

    environment: dict[str, str]
    metrics_port: int
    grace_s: float


def shipped_scaling() -> ScaledObject:
    """Return the ScaledObject of the component `keda`."""
    return ScaledObject.from_manifest(
        _of_kind("components/keda/autoscaling.yaml", "ScaledObject")["spec"]
    )


def shipped_worker() -> WorkerPod:
    """Return the pod of the workers' Deployment."""
    pod = _of_kind("base/worker.yaml", "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (port,) = container["ports"]
    environment = {
        each["name"]: each["value"]
        for each in container["env"]
        if "value" in each and each["name"] not in _OF_THE_CLUSTER
    }
    return WorkerPod(environment, port["containerPort"], pod["terminationGracePeriodSeconds"])


def oldest_target_s() -> float:
    """Return how old a single job may become, as the values of the chart promise it."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return float(values["monitoring"]["targets"]["queueOldestSeconds"]["sentq"])


def _of_kind(path: str, kind: str) -> dict[str, Any]:
    text = (MANIFESTS / path).read_text(encoding="utf-8")
    (found,) = [each for each in yaml.safe_load_all(text) if each and each["kind"] == kind]
    return dict(found)
