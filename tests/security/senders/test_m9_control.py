"""With `remote_control = "inspect"` a worker shows what it does, and obeys its signals only.
Flower listens on loopback unless it asks for a login."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.worker.control import Panel

from sentq import Client, JobStatus
from tests.support.celery.site import NAME, Site, run_site
from tests.support.processes import RedisProcess, WorkerProcess, eventually, free_port

WAIT_S = 20
REFUSED = "worker.remote_control is inspect"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with run_site(folder, SENTQ_WORKER_REMOTE_CONTROL="inspect") as site:
        yield site


def _command(site: Site, name: str, **arguments: Any) -> Any:
    """Send a control command as any client that may publish it, and return the worker's reply."""
    (reply,) = site.stock.control.broadcast(
        name, arguments=arguments, destination=[NAME], reply=True, timeout=10
    )
    return reply[NAME]


COMMANDS: dict[str, dict[str, Any]] = {
    "shutdown": {},
    "pool_grow": {"n": 1},
    "pool_shrink": {"n": 1},
    "pool_restart": {"modules": ["os"]},
    "autoscale": {"max": 9, "min": 1},
    "add_consumer": {"queue": "celery"},
    "cancel_consumer": {"queue": "sentq"},
    "rate_limit": {"task_name": "sentq.score", "rate_limit": "1/h"},
    "time_limit": {"task_name": "sentq.score", "hard": 1},
    "revoke": {"task_id": "0192f0c1-7d3c-7aaa-8bbb-0123456789ab"},
    "revoke_by_stamped_headers": {"headers": {"tenant": "acme"}},
    "terminate": {"signal": "TERM", "task_id": "0192f0c1-7d3c-7aaa-8bbb-0123456789ab"},
    "election": {"id": "1", "topic": "task", "action": {}},
    "disable_events": {},
    "objgraph": {"num": 1},
}


@pytest.mark.parametrize(("name", "arguments"), COMMANDS.items(), ids=COMMANDS)
def test_a_command_that_changes_a_worker_is_refused(
    site: Site, name: str, arguments: dict[str, Any]
) -> None:
    for _ in range(2):
        assert REFUSED in _command(site, name, **arguments)["error"]
    assert site.worker.log.count(f"the remote control command {name} was refused") == 1
    assert site.score("a text").get(timeout=WAIT_S)["outcomes"]
    queues = {queue["name"] for queue in site.inspect("active_queues")}
    assert queues == {"sentq", "sentq.bulk"}
    assert site.inspect("revoked") == []


def test_every_command_of_celery_either_looks_or_is_refused(site: Site) -> None:
    changes = {name for name, meta in Panel.meta.items() if meta.type == "control"}
    assert changes - set(COMMANDS) == {"enable_events", "heartbeat"}


def test_inspect_commands_are_answered(site: Site) -> None:
    assert site.inspect("ping") == {"ok": "pong"}
    for name in ("active", "reserved", "scheduled", "stats", "registered", "conf", "report"):
        assert site.inspect(name) is not None
    assert "ok" in _command(site, "enable_events")


def test_a_greeting_revokes_no_job(site: Site) -> None:
    job_id = str(uuid.uuid4())
    assert "clock" in _command(site, "hello", from_node="celery@forged", revoked={job_id: 1.0})
    assert site.inspect("revoked") == []


@pytest.mark.slow
def test_sentqs_own_cancelling_needs_no_command(site: Site) -> None:
    with Client(broker_url=site.server.url) as client, site.engine_busy("a"):
        job = client.submit("cancel me")
        assert job.cancel()
        assert job.status() is JobStatus.CANCELLED
        eventually(lambda: job.id in site.inspect("revoked"), what="the cancelled job")
    assert site.score("a neighbour").get(timeout=WAIT_S)["outcomes"]
    assert not site.was_scored("cancel me")


@pytest.mark.slow
def test_a_worker_listens_to_no_other_worker(tmp_path: Path, own_redis: RedisProcess) -> None:
    """In Celery's gossip and mingle, workers believe events and replies that a forger can write."""
    # Started as `celery worker` starts it, with both.
    celery = ("celery", "-A", "tests.support.workers.gated", "worker")
    command = (*celery, "--hostname", NAME, "--loglevel", "INFO")
    variables = {"SENTQ_BROKER_URL": own_redis.url, "SENTQ_WORKER_REMOTE_CONTROL": "inspect"}
    worker = WorkerProcess(tmp_path, variables, command)
    try:
        worker.wait_until_ready()
        with own_redis.client() as client:
            # One for control commands; gossip would subscribe to the events of workers.
            assert client.pubsub_numpat() == 1
        assert "mingle:" not in worker.log
    finally:
        worker.stop()


@pytest.mark.slow
def test_without_remote_control_a_worker_answers_nothing_and_scores(tmp_path: Path) -> None:
    with run_site(tmp_path, SENTQ_WORKER_REMOTE_CONTROL="off") as site:
        assert site.score("a text").get(timeout=WAIT_S)["outcomes"]
        assert site.stock.control.ping(timeout=1) == []
        site.stock.control.shutdown()
        assert site.score("another").get(timeout=WAIT_S)["outcomes"]


# --- Flower --------------------------------------------------------------------------------

LOGIN = "--basic-auth=operator:secret"

#: Options of Flower, and whether it then listens on every address.
LISTENS: dict[str, tuple[tuple[str, ...], dict[str, str], bool]] = {
    "by default": ((), {}, False),
    "on loopback": (("--address=127.0.0.1",), {}, False),
    "with a login": ((LOGIN,), {}, True),
    "with a login and an address": ((LOGIN, "--address=0.0.0.0"), {}, True),
    "with a login in the environment": ((), {"FLOWER_BASIC_AUTH": "operator:secret"}, True),
    "with the override": (("--address=0.0.0.0", "--insecure_no_login"), {}, True),
}

#: The same for a Flower that does not start.
DOES_NOT_LISTEN: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "every address": (("--address=0.0.0.0",), {}),
    "every address of IPv6": (("--address=::",), {}),
    "every address, by the environment": ((), {"FLOWER_ADDRESS": "::"}),
    "a name": (("--address=queue.example",), {}),
}


def _start_flower(
    folder: Path, url: str, app: str, port: int, *options: str, **variables: str
) -> WorkerProcess:
    command = ("celery", "-A", app, "flower", f"--port={port}", *options)
    return WorkerProcess(folder, {"SENTQ_BROKER_URL": url} | variables, command)


def _end(flower: WorkerProcess) -> None:
    # Its threads may wait for replies of workers that are not there.
    flower.process.kill()
    flower.process.wait(30)


def _accepts(address: str, port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((address, port)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("app", "options", "variables", "everywhere"),
    [
        *(pytest.param("sentq.flower", *LISTENS[case], id=case) for case in LISTENS),
        # The same code listens for both apps.
        *(
            pytest.param("sentq_worker", *LISTENS[case], id=f"{case}, the worker's app")
            for case in ("by default", "with a login")
        ),
    ],
)
def test_flower_listens_on_loopback_unless_it_asks_for_a_login(
    *,
    tmp_path: Path,
    redis_server: RedisProcess,
    app: str,
    options: tuple[str, ...],
    variables: dict[str, str],
    everywhere: bool,
) -> None:
    port = free_port()
    flower = _start_flower(tmp_path, redis_server.url, app, port, *options, **variables)
    try:
        eventually(
            lambda: _accepts("127.0.0.1", port) or flower.process.poll() is not None, within_s=60
        )
        assert flower.process.poll() is None, flower.log
        # Another address of this host, which a socket on 127.0.0.1 does not accept.
        assert _accepts("127.0.0.2", port) is everywhere
    finally:
        _end(flower)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "variables"), DOES_NOT_LISTEN.values(), ids=DOES_NOT_LISTEN)
def test_flower_without_a_login_refuses_to_listen_elsewhere(
    tmp_path: Path,
    redis_server: RedisProcess,
    options: tuple[str, ...],
    variables: dict[str, str],
) -> None:
    port = free_port()
    flower = _start_flower(tmp_path, redis_server.url, "sentq.flower", port, *options, **variables)
    assert flower.process.wait(60) == 2
    assert "without a login" in flower.log
    assert "--insecure_no_login" in flower.log
    assert "Traceback" not in flower.log


@pytest.mark.slow
def test_a_login_in_flowers_file_of_options_counts(
    tmp_path: Path, redis_server: RedisProcess
) -> None:
    (tmp_path / "conf.py").write_text('basic_auth = ["operator:secret"]\naddress = "0.0.0.0"\n')
    port, conf = free_port(), f"--conf={tmp_path / 'conf.py'}"
    flower = _start_flower(tmp_path, redis_server.url, "sentq.flower", port, conf)
    try:
        eventually(lambda: _accepts("127.0.0.2", port), within_s=60, what="Flower")
    finally:
        _end(flower)
