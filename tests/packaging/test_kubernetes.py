"""The manifests in configs/kubernetes and the values of the chart, read without helm and kubectl.

What needs these is in `test_manifests.py`, which `make manifests` runs.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import redis
import yaml
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry
from typer.main import get_command

from sentq import Client, Settings
from sentq.admin.status import Scale
from sentq.cli import app as client_command
from sentq.gateway.settings import GatewaySettings
from sentq.settings import LayeredSettings
from sentq.webhooks.settings import WebhookSettings
from sentq_worker.cli import app as worker_command
from sentq_worker.settings import HubSettings, WorkerSettings
from tests.support.celery.site import stock_app
from tests.support.kubernetes import values_schema
from tests.support.kubernetes.files import CHART, CONFIGS, MANIFESTS
from tests.support.kubernetes.rendering import (
    DIGEST,
    OVERLAYS,
    RENDERED,
    chart_digest,
    documents,
    rendered_documents,
)
from tests.support.monitoring.observability import RULE_FILES
from tests.support.processes import RedisProcess, eventually, free_port
from tests.support.roles.users import ROLES, functions_program

ROOT = CONFIGS.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
OBJECTS = rendered_documents()

#: How much longer than its grace a program may take to end, in seconds.
MARGIN_S: Final = 20


def _of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] == kind}


WORKLOADS = _of_kind("Deployment") | _of_kind("StatefulSet")

#: Those that run a program of sentq, with their user of Redis.
PROGRAMS: Final = {
    "sentq-worker": "worker",
    "sentq-gateway": "gateway",
    "sentq-exporter": "operator",
    "sentq-webhooks": "webhooks",
}


def _pod(name: str) -> dict[str, Any]:
    pod: dict[str, Any] = WORKLOADS[name]["spec"]["template"]["spec"]
    return pod


def _container(name: str) -> dict[str, Any]:
    (container,) = _pod(name)["containers"]
    assert isinstance(container, dict)
    return container


def _containers() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in WORKLOADS:
        for container in (*_pod(name)["containers"], *_pod(name).get("initContainers", ())):
            yield f"{name}/{container['name']}", container


# --- One source ----------------------------------------------------------------------------


def test_the_manifests_are_rendered_from_the_chart_as_it_is() -> None:
    assert DIGEST.read_text().strip() == chart_digest(), "the chart has changed: `make kubernetes`"
    folders = (MANIFESTS / "base", *(MANIFESTS / "components").iterdir())
    by_hand = {file for folder in folders for file in folder.glob("*.yaml")} - set(RENDERED)
    for file in by_hand:
        # Patches, what lists the files, and the namespace, which helm does not make.
        objects = documents(file.read_text())
        is_patch = file.parent.parent.name == "components" and len(objects) == 1
        assert is_patch or file.name in {"kustomization.yaml", "namespace.yaml"}, file


def test_files_of_the_chart_are_those_of_configs() -> None:
    copies = {
        "rules/drift.yml": CONFIGS / "observability" / "rules" / "drift.yml",
        "rules/recording.yml": CONFIGS / "observability" / "rules" / "recording.yml",
        "rules/alerts.yml": CONFIGS / "observability" / "rules" / "alerts.yml",
        "redis/redis.conf": CONFIGS / "redis.conf",
        "redis/users.acl": CONFIGS / "users.acl",
    }
    for copy, source in copies.items():
        assert (CHART / "files" / copy).read_bytes() == source.read_bytes(), f"copy {source}"
    present = {file for file in (CHART / "files").rglob("*") if file.is_file()}
    own = {CHART / "files" / "redis" / "scaler.acl"}
    assert present - own == {CHART / "files" / copy for copy in copies}


def test_the_rules_for_the_operator_are_those_of_prometheus() -> None:
    rule = _of_kind("PrometheusRule")["sentq"]
    groups = {group["name"]: group for group in rule["spec"]["groups"]}
    wanted = {
        group["name"]: group
        for file in RULE_FILES
        for group in yaml.safe_load(file.read_text())["groups"]
    }
    assert groups == wanted


def test_the_chart_has_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == PROJECT["version"]
    for name, container in _containers():
        if "redis" not in name:
            assert container["image"].endswith(f":{PROJECT['version']}"), name


# --- Values --------------------------------------------------------------------------------


def _values(overlay: str) -> dict[str, Any]:
    file = MANIFESTS / "overlays" / overlay / "values.yaml"
    return yaml.safe_load(file.read_text()) or {}


def test_the_schema_of_the_values_is_current() -> None:
    text = values_schema.SCHEMA.read_text(encoding="utf-8")
    assert text == values_schema.render(), "values.schema.json is stale: run `make docs`"


@pytest.mark.parametrize("overlay", [None, *OVERLAYS])
def test_the_schema_accepts_the_values(overlay: str | None) -> None:
    schema = json.loads(values_schema.SCHEMA.read_text())
    jsonschema.validate(_values(overlay) if overlay else VALUES, schema)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"workers": {}}, "$"),
        ({"worker": {"settings": {"dtyp": "float32"}}}, "$.worker.settings"),
        ({"worker": {"settings": {"batch_tokens": 3}}}, "$.worker.settings.batch_tokens"),
        ({"worker": {"settings": {"cache_secret": "in the open"}}}, "$.worker.settings"),
        ({"settings": {"broker_url": "redis://:secret@host"}}, "$.settings"),
        ({"keda": {"trigger": "llen"}}, "$.keda.trigger"),
        ({"networkPolicy": {"dnsPeers": [{"ipBlock": {}}]}}, "$.networkPolicy.dnsPeers[0].ipBlock"),
    ],
)
def test_the_schema_refuses_wrong_values(wrong: Mapping[str, Any], place: str) -> None:
    schema = json.loads(values_schema.SCHEMA.read_text())
    with pytest.raises(jsonschema.ValidationError) as refused:
        jsonschema.validate(wrong, schema)
    assert refused.value.json_path == place


def test_the_schema_accepts_the_values_in_documents() -> None:
    schema = json.loads(values_schema.SCHEMA.read_text())
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        jsonschema.validate(yaml.safe_load(block), schema)
    for option in re.findall(r"--set (\S+)=", page):
        named: Any = VALUES
        for key in option.split("."):
            named = named[key]


@pytest.mark.parametrize(("preset", "overlay"), [("cpu", "cpu"), ("gpu", "gpu")])
def test_the_settings_of_workers_are_those_of_the_presets(preset: str, overlay: str) -> None:
    table = tomllib.loads((CONFIGS / f"{preset}.toml").read_text())["worker"]
    own = _values(overlay).get("worker", {}).get("settings", {})
    assert VALUES["worker"]["settings"] | own == table


# --- What programs get ---------------------------------------------------------------------


def _environment(container: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a container; those of a field are a number."""
    return {each["name"]: each.get("value", "2") for each in container["env"]}


def _models(name: str) -> tuple[type[LayeredSettings], ...]:
    models: dict[str, tuple[type[LayeredSettings], ...]] = {
        "sentq-worker": (Settings, WorkerSettings, HubSettings),
        "sentq-gateway": (Settings, GatewaySettings, WebhookSettings),
        "sentq-webhooks": (Settings, WebhookSettings),
    }
    return models.get(name, (Settings,))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_accepts_its_variables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in _environment(_container(name)).items():
        monkeypatch.setenv(key, value)
    for model in _models(name):
        assert model.problems() == []


def test_no_service_sets_a_variable_that_is_a_setting() -> None:
    # A service called sentq-gateway would set SENTQ_GATEWAY_PORT=tcp://10.0.0.1:8200.
    assert "sentq-gateway" in _of_kind("Service")
    assert "port" in GatewaySettings.model_fields
    for name in WORKLOADS:
        assert _pod(name)["enableServiceLinks"] is False, name


def test_a_program_is_started_with_a_command_and_options_that_exist() -> None:
    known = {option for each in get_command(worker_command).params for option in each.opts}
    assert set(_container("sentq-worker")["args"]) <= known
    for name, container in _containers():
        if name.startswith("sentq-redis") or container["name"] == "worker":
            continue
        command: Any = get_command(client_command)
        words = list(container["args"])
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        options = {word for word in words if word.startswith("--")}
        assert command.name in {"exporter", "gateway", "deliver", "load-functions"}, name
        assert options <= {option for each in command.params for option in each.opts}, name


def test_a_program_has_the_password_of_its_own_user_alone() -> None:
    for name, user in PROGRAMS.items():
        container = _container(name)
        environment = _environment(container)
        assert environment["SENTQ_BROKER_URL"] == f"redis://{user}@sentq-redis:6379/0"
        folder, _, file = environment["SENTQ_REDIS_PASSWORD_FILE"].rpartition("/")
        assert file == f"{user}-password"
        (mount,) = (each for each in container["volumeMounts"] if each["mountPath"] == folder)
        (volume,) = (each for each in _pod(name)["volumes"] if each["name"] == mount["name"])
        assert volume["secret"]["secretName"] == "sentq-redis"
        assert volume["secret"]["items"] == [{"key": file, "path": file}]


def test_secrets_are_named_and_not_contained() -> None:
    assert "Secret" not in {each["kind"] for each in OBJECTS}
    for name, container in _containers():
        for each in container.get("env", ()):
            assert not re.search(r"(PASSWORD|TOKEN|SECRETS?|KEYS?)$", each["name"]), name


# --- Ends ----------------------------------------------------------------------------------


def test_a_pod_is_given_longer_than_its_program_needs_to_end() -> None:
    worker_s = _pod("sentq-worker")["terminationGracePeriodSeconds"]
    assert worker_s > WorkerSettings().shutdown_grace_s + MARGIN_S
    assert "lifecycle" not in _container("sentq-worker"), "no service sends to it"

    gateway_s = _pod("sentq-gateway")["terminationGracePeriodSeconds"]
    wait_s = _container("sentq-gateway")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert gateway_s >= wait_s + GatewaySettings().shutdown_grace_s + 10

    deliverer_s = _pod("sentq-webhooks")["terminationGracePeriodSeconds"]
    assert deliverer_s >= WebhookSettings().timeout_s + 10


def test_a_worker_on_a_spot_node_ends_within_the_shortest_notice() -> None:
    (patch,) = documents((MANIFESTS / "components" / "spot" / "worker.yaml").read_text())
    pod = patch["spec"]["template"]["spec"]
    (grace,) = pod["containers"][0]["env"]
    assert grace["name"] == "SENTQ_WORKER_SHUTDOWN_GRACE_S"
    # GKE gives 15 seconds.
    assert float(grace["value"]) <= 10
    assert pod["terminationGracePeriodSeconds"] > float(grace["value"]) + MARGIN_S


# --- Confinement ---------------------------------------------------------------------------


def test_every_container_is_confined() -> None:
    for name in WORKLOADS:
        pod = _pod(name)
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["securityContext"]["runAsUser"] >= 100, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        assert {kind for each in pod["volumes"] for kind in each} <= {
            *("name", "emptyDir", "secret", "configMap"),
        }, name
    for name, container in _containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
        assert container["resources"]["limits"]["memory"], name


def test_the_user_of_the_pods_is_that_of_the_images() -> None:
    for file in ("worker", "producer"):
        assert "USER 10001:10001" in (ROOT / "docker" / f"{file}.Dockerfile").read_text()
    for name in PROGRAMS:
        context = _pod(name)["securityContext"]
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 10001


def test_the_account_of_the_pods_has_no_rights() -> None:
    (account,) = _of_kind("ServiceAccount").values()
    assert account["automountServiceAccountToken"] is False
    assert {_pod(name)["serviceAccountName"] for name in WORKLOADS} == {account["metadata"]["name"]}
    assert not {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"} & {
        each["kind"] for each in OBJECTS
    }


def test_every_pod_has_a_policy_and_workers_reach_names_and_redis_alone() -> None:
    policies = _of_kind("NetworkPolicy")
    assert set(policies) == set(WORKLOADS)
    for name, policy in policies.items():
        selector = policy["spec"]["podSelector"]["matchLabels"]
        assert selector == WORKLOADS[name]["spec"]["selector"]["matchLabels"], name
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"], name
    names, queue = policies["sentq-worker"]["spec"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    (peer,) = queue["to"]
    assert peer == {"podSelector": {"matchLabels": _labels("sentq-redis")}}
    assert queue["ports"] == [{"protocol": "TCP", "port": 6379}]
    assert policies["sentq-redis"]["spec"]["egress"] == []
    # Only what calls receivers reaches the internet, and no private network.
    for name, policy in policies.items():
        blocks = [
            peer["ipBlock"]
            for rule in policy["spec"]["egress"]
            for peer in rule["to"]
            if "ipBlock" in peer
        ]
        assert bool(blocks) == (name == "sentq-webhooks"), name
        assert all("10.0.0.0/8" in block["except"] for block in blocks if "." in block["cidr"])


def _labels(name: str) -> dict[str, str]:
    labels: dict[str, str] = WORKLOADS[name]["spec"]["selector"]["matchLabels"]
    return labels


def test_objects_select_the_pods_that_they_mean() -> None:
    for name, workload in WORKLOADS.items():
        pod_labels = workload["spec"]["template"]["metadata"]["labels"]
        assert _labels(name).items() <= pod_labels.items()
        for spread in _pod(name).get("topologySpreadConstraints", ()):
            assert spread["labelSelector"]["matchLabels"] == _labels(name)
    for kind in ("Service", "PodDisruptionBudget", "PodMonitor"):
        for name, each in _of_kind(kind).items():
            selector = each["spec"]["selector"]
            assert selector.get("matchLabels", selector) == _labels(name), (kind, name)
    (monitor,) = _of_kind("ServiceMonitor").values()
    services = [each["metadata"]["labels"] for each in _of_kind("Service").values()]
    chosen = monitor["spec"]["selector"]["matchLabels"]
    assert sum(chosen.items() <= labels.items() for labels in services) == 1
    for name, each in _of_kind("Service").items():
        ports = {port["name"] for port in _container(name)["ports"]}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports


def test_monitors_give_targets_the_names_that_alerts_and_dashboard_use() -> None:
    monitors = _of_kind("ServiceMonitor") | _of_kind("PodMonitor")
    for name, monitor in monitors.items():
        spec = monitor["spec"]
        (endpoint,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
        assert {"targetLabel": "job", "replacement": name} in endpoint["relabelings"]
        assert endpoint["port"] in {port["name"] for port in _container(name)["ports"]}
    assert set(monitors) == {"sentq-exporter", "sentq-worker"}


def test_probes_ask_the_pages_that_programs_have() -> None:
    pages = {"sentq-worker": {"/livez", "/readyz"}, "sentq-gateway": {"/livez", "/readyz"}}
    pages["sentq-exporter"] = {"/livez"}
    for name, paths in pages.items():
        container = _container(name)
        probes = {kind: each for kind, each in container.items() if kind.endswith("Probe")}
        assert {each["httpGet"]["path"] for each in probes.values()} == paths
        assert probes["livenessProbe"]["httpGet"]["path"] == "/livez"
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert {each["httpGet"]["port"] for each in probes.values()} == set(ports)
    worker = _container("sentq-worker")
    (port,) = worker["ports"]
    assert _environment(worker)["SENTQ_WORKER_METRICS_PORT"] == str(port["containerPort"])
    # It can import torch meanwhile, also on a busy node.
    startup = worker["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120


# --- Scaling -------------------------------------------------------------------------------


def _scaled_object(component: str) -> dict[str, Any]:
    file = MANIFESTS / "components" / component / "autoscaling.yaml"
    scaled, *_ = documents(file.read_text())
    spec: dict[str, Any] = scaled["spec"]
    return spec


@pytest.mark.parametrize("component", ["keda", "keda-redis"])
def test_workers_are_scaled_from_none_and_kept_while_nothing_is_known(component: str) -> None:
    spec = _scaled_object(component)
    assert spec["scaleTargetRef"]["name"] in WORKLOADS
    assert spec["minReplicaCount"] == 0
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 300


def test_the_triggers_read_numbers_that_the_exporter_serves() -> None:
    triggers = _scaled_object("keda")["triggers"]
    (port,) = _of_kind("Service")["sentq-exporter"]["spec"]["ports"]
    url = f"http://sentq-exporter.sentq.svc:{port['port']}/v1/scale"
    assert {each["metadata"]["url"] for each in triggers} == {url}
    fields = [each["metadata"]["valueLocation"] for each in triggers]
    assert fields == ["ready_jobs", "busy_workers"]
    assert set(fields) <= set(Scale.model_fields)


def _count(connection: redis.Redis, name: str) -> int:
    """Return how long a list or a sorted set is, in one script, as KEDA's trigger asks."""
    script = """
        local kind = redis.call('TYPE', KEYS[1]).ok
        if kind == 'zset' then return redis.call('ZCARD', KEYS[1]) end
        return redis.call('LLEN', KEYS[1])
    """
    return int(connection.eval(script, 1, name))


def _backlog(connection: redis.Redis) -> int:
    """Return what the formula of the triggers makes of Redis."""
    spec = _scaled_object("keda-redis")
    counts = {
        each["name"]: _count(connection, each["metadata"]["listName"]) for each in spec["triggers"]
    }
    formula = spec["advanced"]["scalingModifiers"]["formula"]
    listed, condition = formula.split(" + (")
    assert set(listed.split(" + ")) == set(counts) - {"scheduled"}
    assert condition == "scheduled > 0 ? 1 : 0)"
    return sum(counts[name] for name in listed.split(" + ")) + (counts["scheduled"] > 0)


def test_the_formula_over_lists_counts_jobs_of_all_priorities_and_those_in_flight(
    own_redis: RedisProcess,
) -> None:
    with (
        Client(broker_url=own_redis.url) as client,
        stock_app(own_redis.url) as stock,
        own_redis.client() as connection,
    ):
        assert _backlog(connection) == 0
        score = stock.signature("sentq.score", args=(["a text"],))
        for queue in ("sentq", "sentq.bulk"):
            for priority in (0, 3, 6, 9):
                score.apply_async(queue=queue, priority=priority)
        assert _backlog(connection) == client.service_status().scale().ready_jobs == 8
        # As a worker that has taken two jobs leaves Redis.
        connection.zadd("unacked_index", {"a": 1, "b": 2})
        assert _backlog(connection) == client.service_status().scale().ready_jobs == 10
        # Jobs that are not due yet need one worker, however many they are.
        connection.zadd("sentq.scheduled", {"c": 4e12, "d": 4e12})
        assert _backlog(connection) == 11


# --- The Redis of the manifests ------------------------------------------------------------


def _start_redis(folder: Path, users: Mapping[str, str], port: int) -> subprocess.Popen[str]:
    """Start Redis by the command of its pod, with all that is mounted in a folder."""
    _, _, script = _container("sentq-redis")["command"]
    (mounted,) = (
        each["data"] for each in _of_kind("ConfigMap").values() if "redis.conf" in each["data"]
    )
    scaler = (CHART / "files" / "redis" / "scaler.acl").read_text()
    for name in ("passwords", "config", "run", "data"):
        (folder / name).mkdir()
    # Without the line feed that the patch of the component keda-redis might lose.
    for name, content in (mounted | {"scaler.acl": scaler.strip()}).items():
        (folder / "config" / name).write_text(content)
    for user, password in users.items():
        (folder / "passwords" / f"{user}-password").write_text(password)
    for inside, outside in {
        "exec redis-server": f"exec {functions_program()}",
        "/etc/sentq": str(folder / "config"),
        "/run/secrets/sentq/redis": str(folder / "passwords"),
        "/run/redis": str(folder / "run"),
        "/data": str(folder / "data"),
        "--port 6379": f"--port {port}",
        '"$MAXMEMORY"': "1gb",
    }.items():
        assert inside in script, inside
        script = script.replace(inside, outside)
    return subprocess.Popen(
        ["/bin/sh", "-ec", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _as_user(port: int, user: str) -> redis.Redis:
    return redis.Redis(
        port=port,
        username=user,
        password=f"{user}-secret",
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def _answers(port: int) -> bool:
    try:
        with _as_user(port, "producer") as connection:
            return bool(connection.ping())
    except redis.ConnectionError:
        return False


def test_the_redis_of_the_manifests_has_the_users_and_one_that_counts_alone(tmp_path: Path) -> None:
    port = free_port()
    users = {user: f"{user}-secret\n" for user in (*ROLES, "scaler")}
    process = _start_redis(tmp_path, users, port)
    try:
        eventually(lambda: _answers(port) or process.poll() is not None, what="Redis")
        for user in users:
            with _as_user(port, user) as connection:
                assert connection.ping()
        url = f"redis://worker:worker-secret@127.0.0.1:{port}/0"
        with Client(broker_url=url) as client:
            # What the gateway's init container does.
            client.load_functions()
        with Client(broker_url=url.replace("worker", "producer")) as client:
            client.submit("a text")
        with _as_user(port, "scaler") as scaler:
            assert _backlog(scaler) == 1
            for command in ("LRANGE sentq 0 -1", "RPOP sentq", "GET x"):
                with pytest.raises(NoPermissionError):
                    scaler.execute_command(*command.split())
            with pytest.raises(redis.ResponseError, match="can't run this command"):
                scaler.eval("return redis.call('LRANGE', KEYS[1], 0, -1)", 1, "sentq")
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_a_redis_that_lacks_a_password_says_which_and_does_not_start(tmp_path: Path) -> None:
    users = {user: "secret" for user in ROLES if user != "gateway"}
    process = _start_redis(tmp_path, users | {"scaler": "secret"}, free_port())
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "REPLACE-the-gateway-password" in said
