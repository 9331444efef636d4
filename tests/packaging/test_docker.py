"""The files in docker/, parsed as Docker parses them, and their commands run without Docker."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry
from typer.main import get_command

from sentq import Client, Settings
from sentq.gateway.settings import GatewaySettings
from sentq.webhooks.settings import WebhookSettings
from sentq_worker.cli import app as worker_command
from sentq_worker.settings import WorkerSettings
from tests.support.gateway.keys import with_new_key
from tests.support.processes import RedisProcess, StartWorker, eventually, free_port
from tests.support.roles.users import ROLES, functions_program
from tests.support.tls.certificates import Authority, redis_program_with_tls
from tests.support.webhooks.deliveries import SECRET

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
CONFIGS = ROOT / "configs"
OBSERVABILITY_CONFIGS = ROOT / "configs" / "observability"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
COMPOSE_FILES = sorted(DOCKER.glob("*.yaml"))
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DOCKER / "compose.yaml").read_text())[
    "services"
]

#: Those that start a program of sentq, each with its user of Redis.
ROLES_OF_SERVICES = {
    "worker": "worker",
    "exporter": "operator",
    "gateway": "gateway",
    "webhooks": "webhooks",
    "flower": "flower",
    "producer": "producer",
    "operator": "operator",
}

#: Those of the profile `observability`: images of others.
OBSERVABILITY = {"prometheus", "alertmanager", "grafana"}

SECRETS: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["secrets"]

#: The programs that an image may start: those of pyproject.toml, and Celery's.
COMMANDS = {
    *tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"],
    "celery",
}


# --- Dockerfiles ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Instruction:
    name: str
    words: list[str]

    @property
    def is_exec_form(self) -> bool:
        return self.words[0].startswith("[")

    @property
    def program(self) -> str:
        return self.words[0].strip('[",]')


def _instructions(file: Path) -> list[Instruction]:
    """Return the instructions in order, with continued lines joined and without comments."""
    lines = (line for line in file.read_text().splitlines() if not line.lstrip().startswith("#"))
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        Instruction(name, words)
        for name, *words in (line.split() for line in joined.splitlines() if line.strip())
    ]


def _last_stage(file: Path) -> list[Instruction]:
    instructions = _instructions(file)
    starts = [index for index, each in enumerate(instructions) if each.name == "FROM"]
    return instructions[starts[-1] :]


@pytest.fixture(params=DOCKERFILES, ids=lambda file: file.name)
def dockerfile(request: pytest.FixtureRequest) -> Path:
    file: Path = request.param
    return file


def _copied(file: Path) -> Iterator[str]:
    arguments = dict(_defaults(file))
    for each in _instructions(file):
        if each.name == "COPY" and not each.words[0].startswith("--from"):
            for source in each.words[:-1]:
                yield re.sub(r"\$\{(\w+)\}", lambda name: arguments[name[1]], source)


def _defaults(file: Path) -> Iterator[tuple[str, str]]:
    """The build arguments with their defaults."""
    for each in _instructions(file):
        if each.name == "ARG" and "=" in each.words[0]:
            name, _, value = each.words[0].partition("=")
            yield name, value.strip('"')


def test_copied_files_exist_and_are_not_ignored(dockerfile: Path) -> None:
    copied = set(_copied(dockerfile))
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert {"pyproject.toml", "constraints.txt", "producer"} <= copied
    assert "*" in ignored, "an image gets only files that .dockerignore names"
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source


def test_the_copied_files_build_the_wheel(dockerfile: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {package.split("/")[0] for package in packages}
    needed |= {project["project"]["readme"], *project["project"]["license-files"]}
    assert needed <= set(_copied(dockerfile))


def test_an_image_runs_as_an_unprivileged_user_with_a_fixed_id(dockerfile: Path) -> None:
    users = [each.words[0] for each in _last_stage(dockerfile) if each.name == "USER"]
    assert users
    assert re.fullmatch(r"[1-9]\d{3,}(:[1-9]\d{3,})?", users[-1])


def test_the_entry_point_exists_and_receives_signals(dockerfile: Path) -> None:
    (entrypoint,) = (each for each in _last_stage(dockerfile) if each.name == "ENTRYPOINT")
    assert entrypoint.program in COMMANDS
    assert entrypoint.is_exec_form, "a shell as process 1 does not forward SIGTERM"


def test_every_base_image_is_an_argument_and_every_package_is_pinned(dockerfile: Path) -> None:
    instructions = _instructions(dockerfile)
    stages = [each.words for each in instructions if each.name == "FROM"]
    built = {words[2] for words in stages if len(words) > 1}
    assert {words[0] for words in stages} - built - {"scratch"} == {"${BASE}"}
    environment = " ".join(" ".join(each.words) for each in instructions if each.name == "ENV")
    assert "PIP_CONSTRAINT=/src/constraints.txt" in environment
    assert "PYTHONUNBUFFERED=1" in environment


def test_every_package_of_an_image_is_installed_from_a_lock(dockerfile: Path) -> None:
    for each in _instructions(dockerfile):
        command = " ".join(each.words)
        for install in re.findall(r"\S+pip (?:--python \S+ )?install [^&]*", command):
            is_locked = "--require-hashes" in install or "-r torch.lock" in install
            is_own = "/wheels/" in install
            # Of an environment that goes into no image.
            is_tool = re.match(r"/opt/build/bin/pip install .*cyclonedx-bom", install) is not None
            assert is_locked or is_own or is_tool, install
            assert is_tool or "--no-deps" in install, install


def test_an_image_starts_from_nothing_and_says_what_it_is(dockerfile: Path) -> None:
    stage = _last_stage(dockerfile)
    assert stage[0].words == ["scratch"]
    # There is no shell to run anything in.
    assert "RUN" not in {each.name for each in stage}
    labels = " ".join(" ".join(each.words) for each in stage if each.name == "LABEL")
    named = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", labels))
    assert named == {"title", "description", "version", "revision", "licenses"}


def test_make_images_names_files_and_arguments_that_exist() -> None:
    tree = ast.parse((DOCKER / "images.py").read_text())
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_Image"
    ]
    assert len(calls) == 4
    for call in calls:
        _, file, *_ = (str(each.value) for each in call.args if isinstance(each, ast.Constant))
        dockerfile = DOCKER / f"{file}.Dockerfile"
        arguments = {each.words[0].partition("=")[0] for each in _instructions(dockerfile)}
        given = {
            str(key.value): str(value.value)
            for node in ast.walk(call)
            if isinstance(node, ast.Dict)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)
        }
        assert {*given, "VERSION", "SOURCE_COMMIT", "BASE", "PIP_OPTIONS"} <= arguments
        for name, value in given.items():
            if name.endswith("_LOCK"):
                assert (ROOT / value).is_file(), value
                assert f"!{value}" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_torch_for_cpus_has_the_version_of_the_lock() -> None:
    pinned = re.compile(r"^torch==\S+", flags=re.MULTILINE)
    lock = (DOCKER / "requirements-torch.lock").read_text()
    assert pinned.findall((DOCKER / "requirements-torch-cpu.txt").read_text()) == pinned.findall(
        lock
    )


def test_no_file_names_a_registry() -> None:
    for file in (*DOCKERFILES, *COMPOSE_FILES, ROOT / ".dockerignore"):
        assert "https://" not in file.read_text(), file


def _image_variables() -> dict[str, str]:
    """The variables that the worker's image sets."""
    words = chain.from_iterable(
        each.words for each in _last_stage(DOCKER / "worker.Dockerfile") if each.name == "ENV"
    )
    return dict(word.split("=", 1) for word in words)


@pytest.mark.slow
def test_the_health_check_asks_the_worker(
    own_redis: RedisProcess, start_worker: StartWorker
) -> None:
    (check,) = (
        each for each in _last_stage(DOCKER / "worker.Dockerfile") if each.name == "HEALTHCHECK"
    )
    # There is no shell in the image.
    command = json.loads(" ".join(check.words[check.words.index("CMD") + 1 :]))
    image = {
        name: value
        for name, value in _image_variables().items()
        if name.startswith("SENTQ_WORKER_METRICS")
    }
    assert set(image) == {"SENTQ_WORKER_METRICS_HOST", "SENTQ_WORKER_METRICS_PORT"}
    image["SENTQ_WORKER_METRICS_PORT"] = str(free_port())  # Other tests may use that of the image.

    def exit_code() -> int:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            command,
            env=os.environ | image | {"PATH": path},
            capture_output=True,
            timeout=60,
            check=False,
        ).returncode

    worker = start_worker(own_redis.url, **image)
    assert exit_code() == 0
    own_redis.kill()
    assert exit_code() == 0, "a worker whose Redis is away lives"
    own_redis.start()
    worker.stop()
    assert exit_code() == 1


# --- Compose -------------------------------------------------------------------------------


def test_build_contexts_and_mounted_files_of_services_exist() -> None:
    for file in COMPOSE_FILES:
        document = yaml.safe_load(file.read_text())
        volumes = set(document.get("volumes", ()))
        for service in document["services"].values():
            if build := service.get("build"):
                context = (DOCKER / build["context"]).resolve()
                assert context == ROOT
                assert (context / build["dockerfile"]).is_file()
            for mount in service.get("volumes", ()):
                source = _host_side(mount)
                assert source in volumes or (DOCKER / source).exists(), mount


def _host_side(mount: str) -> str:
    return mount.split(":", maxsplit=1)[0]


def test_every_sentq_variable_is_a_setting() -> None:
    known = {f"SENTQ_{name.upper()}" for name in Settings.model_fields}
    known |= {f"SENTQ_WORKER_{name.upper()}" for name in WorkerSettings.model_fields}
    known |= {f"SENTQ_GATEWAY_{name.upper()}" for name in GatewaySettings.model_fields}
    known |= {f"SENTQ_WEBHOOKS_{name.upper()}" for name in WebhookSettings.model_fields}
    for name, service in SERVICES.items():
        environment = service.get("environment", {})
        given = {key for key in environment if key.startswith("SENTQ_")}
        assert given <= known, name
        # An empty value differs from an absent variable: it would be the name of a model.
        assert all(value != "" for value in environment.values()), name


def test_passwords_come_from_files_alone() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    assert not re.search(r"\$\{\w*(PASSWORD|TOKEN|SECRET|USER|KEY)", text)
    for file in COMPOSE_FILES:
        document = yaml.safe_load(file.read_text())
        for secret in document.get("secrets", {}).values():
            assert secret["file"].startswith("./secrets/")
    assert "secrets" in (ROOT / ".gitignore").read_text()
    for name, service in SERVICES.items():
        secrets = service.get("secrets", [])
        assert set(secrets) <= set(SECRETS), name
        if name in OBSERVABILITY:
            assert not {f"{role}-password" for role in ROLES} & set(secrets), name
        elif name != "redis":
            role = ROLES_OF_SERVICES[name]
            environment = service["environment"]
            assert environment["SENTQ_BROKER_URL"] == f"redis://{role}@redis:6379/0"
            assert environment["SENTQ_REDIS_PASSWORD_FILE"] == f"/run/secrets/{role}-password"
            # Each service has the password of its own user alone.
            passwords = [each for each in secrets if each.endswith("-password")]
            assert passwords == [f"{role}-password"]


def test_every_service_is_confined_and_limited() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert len(service["tmpfs"]) == 1, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["ulimits"] == {"core": 0}, name
        assert service["pids_limit"] <= 1024, name
        assert service["mem_limit"], name
        assert "privileged" not in service, name
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", SERVICES["redis"]["user"])


def test_only_a_service_that_needs_it_reaches_the_internet() -> None:
    document = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    assert document["networks"]["queue"] == {"internal": True}
    others = {
        # Their ports are published.
        "flower": ["queue", "outside"],
        "gateway": ["queue", "outside"],
        "prometheus": ["queue", "outside"],
        # It calls the receivers.
        "webhooks": ["queue", "outside"],
        # These do not reach Redis.
        "alertmanager": ["outside"],
        "grafana": ["outside"],
    }
    for name, service in SERVICES.items():
        assert service["networks"] == others.get(name, ["queue"]), name
    hub = yaml.safe_load((DOCKER / "compose.hub.yaml").read_text())
    assert hub["services"]["worker"]["networks"] == ["queue", "outside"]


def test_only_services_that_send_or_score_get_the_encryption_keys() -> None:
    document = yaml.safe_load((DOCKER / "compose.encryption.yaml").read_text())
    assert set(document["services"]) == {"worker", "producer", "gateway"}
    for service in document["services"].values():
        assert service["secrets"] == ["encryption-keys"]
        file = service["environment"]["SENTQ_ENCRYPTION_KEYS_FILE"]
        assert file == "/run/secrets/encryption-keys"
    assert "encryption_keys_file" in Settings.model_fields
    assert document["secrets"] == {"encryption-keys": {"file": "./secrets/encryption-keys"}}


def test_with_tls_each_client_verifies_redis() -> None:
    document = yaml.safe_load((DOCKER / "compose.tls.yaml").read_text())
    services = document["services"]
    assert services.pop("redis") == {"secrets": ["redis.pem", "redis-key.pem", "redis-ca.pem"]}
    assert set(services) == set(ROLES_OF_SERVICES)
    for name, service in services.items():
        role = ROLES_OF_SERVICES[name]
        assert service["environment"] == {
            "SENTQ_BROKER_URL": f"rediss://{role}@redis:6379/0",
            "SENTQ_TLS_CA_FILE": "/run/secrets/redis-ca.pem",
        }
        assert service["secrets"] == ["redis-ca.pem"]
    command = SERVICES["redis"]["command"][-1]
    for secret in ("redis.pem", "redis-key.pem"):
        assert f"/run/secrets/{secret}" in command


def test_redis_has_users_and_a_volume_and_no_published_port() -> None:
    service = SERVICES["redis"]
    assert "--aclfile /tmp/users.acl" in service["command"][-1]
    assert service["secrets"] == [f"{role}-password" for role in ROLES]
    assert "ports" not in service
    assert "queue:/data" in service["volumes"]
    assert "--dir /data" in service["command"][-1]


def test_redis_starts_with_the_configured_command_and_requires_a_user(tmp_path: Path) -> None:
    mounts = dict(mount.split(":")[1::-1] for mount in SERVICES["redis"]["volumes"])
    shell, options, script = SERVICES["redis"]["command"]
    port = free_port()
    for role in ROLES:
        (tmp_path / f"{role}-password").write_text(f"{role}-secret\n")
    for inside, outside in {
        "exec redis-server": f"exec {functions_program()}",
        "/etc/sentq/redis.conf": str(DOCKER / mounts["/etc/sentq/redis.conf"]),
        "/etc/sentq/users.acl": str(DOCKER / mounts["/etc/sentq/users.acl"]),
        "/run/secrets": str(tmp_path),
        "/data": str(tmp_path),
        f"{SERVICES['redis']['tmpfs'][0]}/users.acl": str(tmp_path / "users.acl"),
    }.items():
        assert inside in script
        script = script.replace(inside, outside)
    script = _interpolated(script).rstrip() + f" --port {port}"
    process = subprocess.Popen([shell, options, script], stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: _is_open(port) or process.poll() is not None, what="Redis")
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"redis" in arguments
        assert b"secret" not in arguments.replace(str(tmp_path).encode(), b"")
        assert (tmp_path / "users.acl").stat().st_mode & 0o077 == 0
        assert "secret" not in (tmp_path / "users.acl").read_text()
        for role in ROLES:
            with _as_user(port, role) as user:
                assert user.ping()
        with _as_user(port, "administrator") as connection:
            assert connection.config_get("maxmemory")["maxmemory"] == str(1024**3)
            assert connection.config_get("appendonly")["appendonly"] == "yes"
        with (
            redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as anonymous,
            pytest.raises(redis.AuthenticationError),
        ):
            anonymous.get("celery-task-meta-1")
    finally:
        process.terminate()
        process.wait(10)


def test_redis_takes_tls_alone_if_there_is_a_certificate(tmp_path: Path) -> None:
    program = redis_program_with_tls()
    certificate = Authority(tmp_path / "authority").certificate("redis")
    for name, file in {"redis": certificate.certificate, "redis-key": certificate.key}.items():
        (tmp_path / f"{name}.pem").write_bytes(file.read_bytes())
    for role in ROLES:
        (tmp_path / f"{role}-password").write_text(f"{role}-secret\n")
    port = free_port()
    _, _, script = SERVICES["redis"]["command"]
    for inside, outside in {
        "exec redis-server": f"exec {program}",
        "/etc/sentq": str(CONFIGS),
        "/run/secrets": str(tmp_path),
        "/data": str(tmp_path),
        f"{SERVICES['redis']['tmpfs'][0]}/users.acl": str(tmp_path / "users.acl"),
        "--tls-port 6379": f"--tls-port {port}",
    }.items():
        assert inside in script, inside
        script = script.replace(inside, outside)
    process = subprocess.Popen(["/bin/sh", "-ec", _interpolated(script)], stdout=subprocess.DEVNULL)
    settings = Settings(
        broker_url=f"rediss://worker:worker-secret@127.0.0.1:{port}/0",
        tls_ca_file=tmp_path / "authority" / "authority.pem",
    )
    try:
        eventually(lambda: _is_open(port) or process.poll() is not None, what="Redis")
        with Client(settings) as client:
            client.load_functions()
        with (
            redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as plain,
            pytest.raises(redis.ConnectionError),
        ):
            plain.ping()
    finally:
        process.terminate()
        process.wait(10)


def _as_user(port: int, role: str) -> redis.Redis:
    return redis.Redis(port=port, username=role, password=f"{role}-secret", decode_responses=True)


def _interpolated(script: str) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", script).replace("$$", "$")


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_stop_grace_period_is_longer_than_the_shutdown_of_the_worker() -> None:
    service = SERVICES["worker"]
    grace_s = float(service["stop_grace_period"].removesuffix("s"))
    for preset in (ROOT / "configs").glob("*.toml"):
        assert grace_s > WorkerSettings.load(preset).shutdown_grace_s + 5


def test_the_gateway_and_webhooks_end_by_themselves() -> None:
    grace_s = {
        "gateway": GatewaySettings.load().shutdown_grace_s,
        "webhooks": WebhookSettings.load().timeout_s,
    }
    for name, own_s in grace_s.items():
        assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > own_s + 5


def test_only_what_delivers_webhooks_has_their_secret() -> None:
    gateway, webhooks = SERVICES["gateway"], SERVICES["webhooks"]
    others = [each for name, each in SERVICES.items() if name != "webhooks"]
    assert "webhook-secrets" in webhooks["secrets"]
    assert not [each for each in others if "webhook-secrets" in each.get("secrets", ())]
    assert gateway["environment"]["SENTQ_GATEWAY_DELIVERS_WEBHOOKS"] == "false"
    for each in (gateway, webhooks):
        assert "SENTQ_WEBHOOKS_HOSTS" in each["environment"], "both check URLs"
        assert each["profiles"] == ["gateway"], "what the one accepts, the other delivers"


def test_the_worker_is_started_with_existing_options() -> None:
    known = {name for parameter in get_command(worker_command).params for name in parameter.opts}
    options = [word for word in SERVICES["worker"]["command"] if word.startswith("--")]
    assert set(options) <= known
    assert "--events" in options, "Flower needs task events"
    config = SERVICES["worker"]["command"][1]
    assert any(f":{config}:" in mount for mount in SERVICES["worker"]["volumes"])


def test_flower_requires_a_password_and_listens_on_loopback_only() -> None:
    service = SERVICES["flower"]
    assert service["entrypoint"][0] in COMMANDS
    assert "--conf=/run/secrets/flower.py" in service["command"]
    assert "flower.py" in service["secrets"]
    assert service["environment"]["FLOWER_READ_ONLY"] == "true"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_services_wait_for_redis_and_have_health_checks() -> None:
    worker_image = {each.name for each in _last_stage(DOCKER / "worker.Dockerfile")}
    assert "HEALTHCHECK" in worker_image
    for name, service in SERVICES.items():
        if name in ROLES_OF_SERVICES:
            assert service["depends_on"]["redis"]["condition"] == "service_healthy", name
        if name in {"redis", "flower", "exporter", "gateway", "webhooks"} | OBSERVABILITY:
            assert service["healthcheck"]["test"], name


# --- Observability -------------------------------------------------------------------------


def test_prometheus_alertmanager_and_grafana_are_a_profile_of_their_own() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert {name for name, each in profiles.items() if each == ["observability"]} == OBSERVABILITY
    assert profiles["exporter"] == [], "autoscalers ask it too"
    for name in OBSERVABILITY:
        ports = SERVICES[name]["ports"]
        assert all(port.startswith("127.0.0.1:") for port in ports), name


def test_prometheus_scrapes_the_services_at_the_ports_that_they_have() -> None:
    configuration = yaml.safe_load((OBSERVABILITY_CONFIGS / "prometheus.yml").read_text())
    exporter, worker = configuration["scrape_configs"]
    assert exporter["static_configs"] == [{"targets": ["exporter:9465"]}]
    (workers,) = worker["dns_sd_configs"]
    assert workers["names"] == ["worker"]
    assert str(workers["port"]) == _image_variables()["SENTQ_WORKER_METRICS_PORT"]
    (alertmanager,) = configuration["alerting"]["alertmanagers"][0]["static_configs"]
    (port,) = SERVICES["alertmanager"]["ports"]
    assert alertmanager["targets"] == [f"alertmanager:{port.rpartition(':')[2]}"]


def test_a_service_reads_the_files_at_the_paths_where_they_are_mounted() -> None:
    for name, option in {
        "prometheus": "--config.file=/etc/prometheus/prometheus.yml",
        "alertmanager": "--config.file=/etc/alertmanager/alertmanager.yml",
    }.items():
        assert option in SERVICES[name]["command"]
        assert option.partition("=")[2] in _inside(name), name
    # Grafana reads what to load from this folder unless it is told another one.
    mounted = _inside("grafana")
    assert "/etc/grafana/provisioning" in mounted
    provisioning = OBSERVABILITY_CONFIGS / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "sentq.yml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] in mounted
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    (port,) = SERVICES["prometheus"]["ports"]
    assert source["url"] == f"http://prometheus:{port.rpartition(':')[2]}"


def _inside(service: str) -> set[str]:
    """The paths in the container where files of this project are mounted."""
    return {mount.split(":")[1] for mount in SERVICES[service]["volumes"]}


@dataclass(frozen=True)
class CheckedService:
    """A service with a health check, as the test starts it.

    Attributes:
        name: The service.
        port: The port that its health check asks.
        option: The option of its command that chooses the port.
    """

    name: str
    port: str
    option: str


CHECKED = [
    CheckedService("exporter", "9465", "--port"),
    CheckedService("gateway", "8200", "--port"),
    CheckedService("webhooks", "9466", "--probe-port"),
]


@pytest.mark.slow
@pytest.mark.parametrize("checked", CHECKED, ids=lambda each: each.name)
def test_the_command_and_the_health_check_of_a_service_work(
    own_redis: RedisProcess, checked: CheckedService
) -> None:
    service, port = SERVICES[checked.name], str(free_port())
    with_new_key(Settings.load(broker_url=own_redis.url_of("operator")))
    command = [each for each in service["command"] if each not in (checked.option, checked.port)]
    environment = {"SENTQ_BROKER_URL": own_redis.url_of(ROLES_OF_SERVICES[checked.name])}
    if "webhook-secrets" in service["secrets"]:
        environment["SENTQ_WEBHOOKS_SECRETS"] = SECRET
    process = subprocess.Popen(
        [Path(sys.executable).parent / "sentq", *command, checked.option, port],
        env=os.environ | environment,
    )

    def exit_code() -> int:
        _, _, option, script = service["healthcheck"]["test"]
        assert f"127.0.0.1:{checked.port}" in script, "the port that it has in the container"
        return subprocess.run(
            [sys.executable, option, script.replace(checked.port, port)],
            capture_output=True,
            timeout=60,
            check=False,
        ).returncode

    try:
        eventually(lambda: _is_open(int(port)), within_s=60, what="a service")
        assert exit_code() == 0
        own_redis.kill()
        assert exit_code() == 0, "a service whose Redis is away lives"
    finally:
        process.terminate()
        process.wait(40)
    assert exit_code() != 0
