"""The chart and the overlays as helm and kubectl make them, against the schemas of Kubernetes.

`make manifests` runs these tests; nothing else does, because helm and kubectl come from npm.
"""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.kubernetes.files import CHART, MANIFESTS
from tests.support.kubernetes.rendering import (
    OVERLAYS,
    RENDERED,
    ToolFailed,
    by_name,
    documents,
    helm,
    kustomize,
    render,
)
from tests.support.kubernetes.tools import tool
from tests.support.kubernetes.validating import VERSIONS, complaint
from tests.support.missing import on_path

pytestmark = [pytest.mark.manifests, pytest.mark.long, pytest.mark.slow]

#: Values that no overlay has: for a Redis of the user, an ingress, keys.
VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "redis of your own, with TLS": {
        "redis": {
            "deploy": False,
            "host": "queue.example.com",
            "port": 6380,
            "tls": {"enabled": True, "caSecret": "redis-ca"},
        },
        "networkPolicy": {"redisPeers": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]},
        "keda": {"enabled": True, "trigger": "redis", "minReplicas": 1},
    },
    "without policies, gateway and KEDA": {
        "networkPolicy": {"enabled": False},
        "gateway": {"enabled": False},
    },
    "everything": {
        "image": {
            "worker": {"repository": "registry.example.com/w", "digest": "sha256:" + "0" * 64},
            "pullSecrets": ["registry"],
        },
        "settings": {"result_ttl_s": 3_600_000, "max_queued_jobs": 1_000_000},
        "encryption": {"keysSecret": "keys"},
        "worker": {
            "settings": {
                "model": "distilbert-base-uncased-finetuned-sst-2-english",
                "labels": {"LABEL_0": "negative"},
                "follow_queues": [],
                "shutdown_grace_s": 20.5,
            },
            "hub": {
                "enabled": True,
                "tokenSecret": "hub",
                "settings": {"calls_per_day": 2_000_000},
            },
            "env": [
                {
                    "name": "SENTQ_WORKER_CACHE_SECRET",
                    "valueFrom": {"secretKeyRef": {"name": "cache", "key": "secret"}},
                }
            ],
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "priorityClassName": "batch",
        },
        "gateway": {
            "autoscaling": {"enabled": False},
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "host": "sentq.example.com",
                "tlsSecret": "tls",
                "annotations": {"nginx.ingress.kubernetes.io/proxy-request-buffering": "off"},
            },
            "settings": {"cors_origins": ["https://a.example.com", "https://b.example.com"]},
        },
        "webhooks": {"enabled": True, "settings": {"hosts": ["*.example.com"], "timeout_s": 30}},
        "keda": {"enabled": True},
        "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
    },
}


@pytest.fixture
def with_values(tmp_path: Path) -> Callable[[Mapping[str, Any]], list[dict[str, Any]]]:
    """Render the chart with values."""

    def render_values(values: Mapping[str, Any]) -> list[dict[str, Any]]:
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump(dict(values)))
        return documents(helm("--values", file))

    return render_values


# --- One source ----------------------------------------------------------------------------


@pytest.mark.parametrize("file", RENDERED, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_rendered_file_is_what_helm_makes(file: Path) -> None:
    assert file.read_text(encoding="utf-8") == render(file), "run `make kubernetes`"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_gives_the_objects_that_the_chart_gives(overlay: str) -> None:
    values = MANIFESTS / "overlays" / overlay / "values.yaml"
    by_kustomize = by_name(documents(kustomize(overlay)))
    # Helm creates no namespace.
    del by_kustomize["Namespace", "sentq"]
    assert _unordered(by_kustomize) == _unordered(by_name(documents(helm("--values", values))))


#: Lists whose order means nothing. Patches add to their beginning, the chart to their end.
UNORDERED: Final = {"env", "volumes", "volumeMounts"}


def _unordered(value: Any) -> Any:
    if isinstance(value, list):
        return [_unordered(each) for each in value]
    if isinstance(value, dict):
        return {
            key: sorted(each, key=lambda one: str(one.get("mountPath", one["name"])))
            if key in UNORDERED
            else _unordered(each)
            for key, each in value.items()
        }
    return value


# --- Schemas -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_objects_of_an_overlay_are_valid(overlay: str, version: str) -> None:
    objects = documents(kustomize(overlay))
    assert len(objects) > 10
    assert {each["kind"]: said for each in objects if (said := complaint(each, version))} == {}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_objects_of_the_chart_are_valid(
    variant: str,
    version: str,
    with_values: Callable[[Mapping[str, Any]], list[dict[str, Any]]],
) -> None:
    objects = with_values(VARIANTS[variant])
    assert {each["kind"]: said for each in objects if (said := complaint(each, version))} == {}


#: A wrong field in an object of each kind, by the path to what is changed.
WRONG: Final = {
    "Deployment": ("spec", "template", "spec", "terminationGracePeriod"),
    "StatefulSet": ("spec", "volumeClaimTemplate"),
    "Service": ("spec", "port"),
    "NetworkPolicy": ("spec", "egres"),
    "PodDisruptionBudget": ("spec", "maxUnavailables"),
    "HorizontalPodAutoscaler": ("spec", "maximumReplicas"),
    "ServiceAccount": ("automountServiceAccountTokens",),
    "ConfigMap": ("datas",),
    "ScaledObject": ("spec", "pollingIntervall"),
    "ServiceMonitor": ("spec", "endpoint"),
    "PodMonitor": ("spec", "podMetricsEndpoint"),
    "PrometheusRule": ("spec", "rules"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_field_that_does_not_exist_is_noticed(kind: str) -> None:
    manifest = next(each for each in documents(kustomize("spot")) if each["kind"] == kind)
    wrong = copy.deepcopy(manifest)
    *path, field = WRONG[kind]
    place = wrong
    for key in path:
        place = place[key]
    place[field] = 1
    for version in VERSIONS:
        assert complaint(manifest, version) == ""
        assert field in complaint(wrong, version), version


def test_a_wrong_field_of_a_trigger_or_of_authentication_is_noticed() -> None:
    objects = by_name(documents(kustomize("keda-redis")))
    scaled = copy.deepcopy(objects["ScaledObject", "sentq-worker"])
    scaled["spec"]["triggers"][0]["metadata"]["listlength"] = "5"
    assert complaint(scaled, VERSIONS[0])
    authentication = copy.deepcopy(objects["TriggerAuthentication", "sentq-redis"])
    del authentication["spec"]["secretTargetRef"][0]["key"]
    assert "key" in complaint(authentication, VERSIONS[0])


def test_promtool_accepts_the_rules_for_the_operator(tmp_path: Path) -> None:
    objects = by_name(documents(kustomize("keda")))
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(objects["PrometheusRule", "sentq"]["spec"]))
    done = subprocess.run(
        [on_path("promtool"), "check", "rules", "--lint-fatal", rules],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- Values --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OVERLAYS, *VARIANTS])
def test_helm_lint_has_no_complaint(name: str, tmp_path: Path) -> None:
    file = MANIFESTS / "overlays" / name / "values.yaml"
    if name in VARIANTS:
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump(VARIANTS[name]))
    done = subprocess.run(
        [tool("helm"), "lint", "--strict", "--quiet", CHART, "--values", file],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("worker.settings.dtyp=float32", "additional properties 'dtyp' not allowed"),
        ("worker.settings.batch_tokens=3", "minimum: got 3, want 16"),
        ("keda.trigger=llen", "value must be one of 'exporter', 'redis'"),
        ("worker.replica=3", "additional properties 'replica' not allowed"),
        ("redis.deploy=false", "redis.host: name your Redis, or set redis.deploy=true"),
        ("redis.deploy=false,redis.host=queue", "networkPolicy.redisPeers: say where Redis is"),
        ("gateway.ingress.enabled=true", "gateway.ingress.host: name the host"),
    ],
)
def test_helm_refuses_wrong_values_and_says_what_is_wrong(options: str, said: str) -> None:
    with pytest.raises(ToolFailed) as refused:
        helm("--set", options)
    assert said in str(refused.value)


def test_settings_reach_programs_as_they_are_written(
    with_values: Callable[[Mapping[str, Any]], list[dict[str, Any]]],
) -> None:
    objects = by_name(with_values(VARIANTS["everything"]))
    worker = objects["Deployment", "sentq-worker"]["spec"]["template"]["spec"]
    variables = {each["name"]: each.get("value") for each in worker["containers"][0]["env"]}
    # Not 3.6e+06.
    assert variables["SENTQ_RESULT_TTL_S"] == "3600000"
    assert variables["SENTQ_WORKER_HUB_CALLS_PER_DAY"] == "2000000"
    assert variables["SENTQ_WORKER_LABELS"] == '{"LABEL_0":"negative"}'
    assert variables["SENTQ_WORKER_FOLLOW_QUEUES"] == ","
    assert variables["SENTQ_WORKER_SHUTDOWN_GRACE_S"] == "20.5"
    # Longer with the setting.
    assert worker["terminationGracePeriodSeconds"] == 51
    # The number is KEDA's.
    assert "replicas" not in objects["Deployment", "sentq-worker"]["spec"]
    assert "HF_HUB_OFFLINE" not in variables
