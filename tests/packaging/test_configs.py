"""The files in configs/: settings are loaded, and a real Redis is started with them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from celery import chord, group
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from sentq import Client, JobStatus, Settings, errors
from sentq.admin.dead import RetryResult
from sentq.connection.app import make_app
from sentq.wire.dead_letters import dead_letter_fields
from sentq_worker.settings import HubSettings, WorkerSettings
from tests.support.celery.site import stock_app
from tests.support.logs import register_log
from tests.support.missing import on_path, redis_program
from tests.support.processes import WorkerProcess, eventually, free_port, worker_environment
from tests.support.roles.users import ROLES, functions_program, scripts_program, write_users

CONFIGS = Path(__file__).parents[2] / "configs"

#: The files of users, and the Redis that each is for.
USERS = {"users.acl": functions_program, "users-6.2.acl": scripts_program}


# --- Settings ------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.toml")), ids=lambda file: file.name)
def test_client_and_worker_accept_each_preset(file: Path) -> None:
    shared, own = Settings.load(file), WorkerSettings.load(file)
    assert shared.broker_url == Settings().broker_url, "addresses are set by variables"
    if file.stem == "hub-only":
        assert own.provider == "hub"
        assert HubSettings.load(file).model_fields_set > {"model", "in_flight", "calls_per_day"}
    else:
        assert own.provider == "local"
        assert own.device == file.stem.replace("gpu", "cuda")
        assert own.model_fields_set > {"device", "dtype", "batch_tokens"}


# --- Redis ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """A running Redis with files of configs/."""

    port: int
    process: subprocess.Popen[bytes]

    def url(self, user: str) -> str:
        return f"redis://{user}:{user}-secret@127.0.0.1:{self.port}/0"

    @property
    def plain_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @contextlib.contextmanager
    def connection(self, user: str = "") -> Iterator[redis.Redis]:
        url = self.url(user) if user else self.plain_url
        at_once = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(url, decode_responses=True, retry=at_once) as connection:
            yield connection


@contextlib.contextmanager
def _server(folder: Path, *options: str | Path, program: Path | None = None) -> Iterator[Server]:
    port = free_port()
    log = register_log(folder / "redis.log")
    process = subprocess.Popen(
        [
            program or redis_program(),
            CONFIGS / "redis.conf",
            *("--port", str(port), "--dir", folder, "--logfile", log),
            *options,
        ]
    )
    try:
        eventually(
            lambda: _accepts(port) or process.poll() is not None,
            what="a Redis that replies",
        )
        assert process.poll() is None, log.read_text()
        yield Server(port, process)
    finally:
        process.terminate()
        process.wait(10)


def _accepts(port: int) -> bool:
    """Whether Redis has loaded its data, and replies with PONG or asks for a password."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
    except ConnectionError:
        return False


def test_redis_conf_persists_writes_and_evicts_no_key(tmp_path: Path) -> None:
    expected = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "save": "",
        "timeout": "0",
        "protected-mode": "yes",
        # Its entries would hold the beginnings of texts.
        "slowlog-log-slower-than": "-1",
    }
    with _server(tmp_path) as server, server.connection() as connection:
        assert {key: connection.config_get(key)[key] for key in expected} == expected


def _kill(server: Server) -> None:
    server.process.kill()
    server.process.wait()


def _is_written(connection: redis.Redis) -> bool:
    """Whether Redis has written all that it accepted to its append-only file."""
    return bool(connection.info("persistence")["aof_buffer_length"] == 0)


def test_a_job_in_the_append_only_file_survives_a_killed_redis(tmp_path: Path) -> None:
    with (
        _server(tmp_path) as server,
        server.connection() as connection,
        Client(broker_url=server.plain_url) as client,
    ):
        job = client.submit("a good day")
        # While an fsync is under way, Redis replies first and writes up to two seconds later.
        eventually(lambda: _is_written(connection), what="a written file")
        _kill(server)
    with (
        _server(tmp_path) as server,
        server.connection() as connection,
        Client(broker_url=server.plain_url) as client,
    ):
        assert connection.llen("sentq") == 1
        assert client.job(job.id).status() is JobStatus.QUEUED


def test_with_appendfsync_always_every_accepted_job_survives_a_killed_redis(
    tmp_path: Path,
) -> None:
    always = ("--appendfsync", "always")
    with (
        _server(tmp_path, *always) as server,
        Client(broker_url=server.plain_url) as client,
    ):
        jobs = [client.submit(f"text {number}") for number in range(20)]
        _kill(server)
    with (
        _server(tmp_path, *always) as server,
        server.connection() as connection,
        Client(broker_url=server.plain_url) as client,
    ):
        assert connection.llen("sentq") == len(jobs)
        assert {client.job(job.id).status() for job in jobs} == {JobStatus.QUEUED}


def test_waitaof_returns_when_accepted_jobs_survive_a_killed_redis(tmp_path: Path) -> None:
    valkey = on_path("valkey-server")
    with (
        _server(tmp_path, program=valkey) as server,
        server.connection() as connection,
        Client(broker_url=server.plain_url) as client,
    ):
        client.submit("a good day")
        # It waits for writes of its own connection, and so for all earlier ones.
        connection.set("after the job", 1)
        assert connection.execute_command("WAITAOF", 1, 0, 10_000) == [1, 0]
        _kill(server)
    with (
        _server(tmp_path, program=valkey) as server,
        server.connection() as connection,
    ):
        assert connection.llen("sentq") == 1


# --- Users ---------------------------------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=["users.acl", pytest.param("users-6.2.acl", marks=pytest.mark.slow)],
)
def users(request: pytest.FixtureRequest) -> str:
    """Name the file of users."""
    file: str = request.param
    return file


@contextlib.contextmanager
def _server_with_users(folder: Path, file: str) -> Iterator[Server]:
    """Run a Redis with the users of a file, and a user with all rights for the tests."""
    acl = write_users(folder, "root on >root-secret ~* &* +@all", file=file)
    with _server(folder, "--aclfile", acl, program=USERS[file]()) as server:
        yield server


@pytest.fixture(scope="module")
def idle(users: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a Redis with users and without a worker."""
    with _server_with_users(tmp_path_factory.mktemp("idle"), users) as server:
        if USERS[users] is functions_program:
            with Client(broker_url=server.url("administrator")) as administrator:
                administrator.load_functions()
        yield server


@pytest.fixture(scope="module")
def busy(
    users: str, tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> Iterator[Server]:
    """Run a Redis with users and a worker, and check that no command was denied."""
    folder = tmp_path_factory.mktemp("busy")
    with _server_with_users(folder, users) as server:
        environment = worker_environment(server.url("worker"), tiny_model) | {
            "SENTQ_VISIBILITY_TIMEOUT_S": "5",
            "SENTQ_WORKER_CACHE_SECRET": "so that it uses its cache",
        }
        # Celery's own command, because it uses more of Redis: gossip and mingle.
        command = ("celery", "-A", "sentq_worker", "worker", "-P", "solo", "-l", "INFO", "-E")
        worker = WorkerProcess(folder, environment, command)
        try:
            worker.wait_until_ready()
            yield server
        finally:
            worker.stop()
        with server.connection("root") as root:
            assert root.acl_log() == []


@pytest.fixture
def producer(busy: Server) -> Iterator[Client]:
    with Client(broker_url=busy.url("producer")) as client:
        yield client


@pytest.mark.parametrize("file", USERS)
def test_every_password_of_an_acl_file_is_a_placeholder(file: str) -> None:
    lines = [line.split() for line in (CONFIGS / file).read_text().splitlines()]
    assert [words[1] for words in lines] == ["default", *ROLES]
    assert lines[0][2:] == ["off", "~*", "&*", "+@all"]
    for words in lines[1:]:
        assert [word for word in words if word[0] in "><#"] == [f">REPLACE-the-{words[1]}-password"]
        assert "nopass" not in words


def test_the_producer_user_sends_and_reads_and_the_worker_user_scores(producer: Client) -> None:
    job = producer.submit(["a good day", "bad"])
    assert len(job.result(timeout=30).outcomes) == 2
    assert job.status() is JobStatus.DONE
    assert len(list(producer.map(["fine"] * 200, timeout=30))) == 200


@pytest.mark.slow
def test_a_canvas_of_a_stock_celery_app_works_for_the_producer_user(busy: Server) -> None:
    with stock_app(busy.url("producer")) as stock:
        score = stock.signature("sentq.score", args=(["good"],), queue="sentq", immutable=True)
        assert len(group(score, score, app=stock).apply_async().get(timeout=30)) == 2
        both = chord([score, score], app=stock)(score)
        assert both.get(timeout=30)["outcomes"]
        later = score.apply_async(countdown=0.2, priority=6)
        assert later.get(timeout=30)["outcomes"]


@pytest.mark.slow
def test_the_worker_user_completes_jobs_while_redis_is_full(busy: Server) -> None:
    with stock_app(busy.url("producer")) as stock, busy.connection("root") as root:
        score = stock.signature("sentq.score", args=(["good"],), queue="sentq", immutable=True)
        both = chord([score.set(countdown=2), score.set(countdown=2)], app=stock)(score)
        root.setrange("other", 20_000_000, "x")
        root.config_set("maxmemory", root.info("memory")["used_memory"] * 9 // 10)
        try:
            assert both.get(timeout=30)["outcomes"]
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                root.set("key", "value")
        finally:
            root.config_set("maxmemory", 0)
            root.delete("other")


@pytest.mark.slow
def test_the_worker_user_may_requeue_jobs_of_a_dead_worker(busy: Server, producer: Client) -> None:
    # A queue without a worker, from which the test takes the job's message.
    with Client(broker_url=busy.url("root"), queue="sentq.unread") as client:
        job = client.submit("a good day")
    with busy.connection("root") as root:
        raw = root.lpop("sentq.unread")
        assert isinstance(raw, str)
        message = json.loads(raw)
        tag = message["properties"]["delivery_tag"]
        # As left by a worker that took the job from `sentq` long ago, and died.
        root.hset("unacked", tag, json.dumps([message, "sentq", "sentq"]))
        root.zadd("unacked_index", {tag: 1})
    outcome = producer.job(job.id).result(timeout=30)
    assert outcome.attempts == 2


@pytest.mark.slow
def test_the_flower_user_receives_events(busy: Server, producer: Client) -> None:
    app = make_app(Settings.load(broker_url=busy.url("flower")))
    kinds: set[str] = set()
    with app, app.connection() as connection:
        receiver = app.events.Receiver(
            connection, handlers={"*": lambda event: kinds.add(event["type"])}
        )
        listener = threading.Thread(
            target=receiver.capture, kwargs={"limit": None, "timeout": None, "wakeup": True}
        )
        listener.start()
        try:
            eventually(lambda: "worker-heartbeat" in kinds, what="a heartbeat")
            producer.submit("a good day").result(timeout=30)
            eventually(lambda: "task-succeeded" in kinds, what="a task-succeeded event")
        finally:
            receiver.should_stop = True
            listener.join()


@pytest.mark.slow
def test_the_flower_user_inspects_workers(busy: Server) -> None:
    # Flower uses the worker's app too.
    environment = {"SENTQ_BROKER_URL": busy.url("flower")}
    asked = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "sentq_worker", "inspect", "active_queues"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    assert "sentq.bulk" in asked.stdout


def test_the_producer_user_has_send_options_and_the_operator_user_replays(idle: Server) -> None:
    url = idle.url("producer")
    with (
        Client(broker_url=url, max_queued_jobs=2, max_queued_bytes=4_000_000) as producer,
        Client(broker_url=idle.url("operator")) as operator,
        idle.connection("root") as root,
    ):
        root.flushdb()
        job = producer.submit("text", key="key", deadline=60, local_only=True)
        assert producer.submit("text", key="key", local_only=True).id == job.id
        producer.submit("text")
        with pytest.raises(errors.QueueFull):
            producer.submit("text")
        assert operator.service_status().queues[0].waiting_jobs == 2
        raw = root.rpop("sentq")
        assert isinstance(raw, str)
        fields = dead_letter_fields(
            code="worker_lost", reason="r", message=raw.encode(), job_id=job.id, queue="sentq"
        )
        root.execute_command("XADD", "sentq.dead", "*", *fields)
        (dead_letter,) = operator.dead.entries()
        assert operator.dead.retry(dead_letter) is RetryResult.RETRIED
        assert root.llen("sentq") == 2
        assert operator.dead.drop([dead_letter.id]) == 0
        assert job.cancel()
        assert job.status() is JobStatus.CANCELLED


@pytest.mark.parametrize(
    ("user", "command"),
    [
        *(
            (user, command)
            for user in ("producer", "worker", "flower", "operator")
            for command in ("FLUSHALL", "CONFIG GET *", "KEYS *", "SHUTDOWN", "ACL LIST", "GET x")
        ),
        # A producer must not read the texts of other producers, or stop workers.
        ("producer", "LRANGE sentq 0 -1"),
        ("producer", "RPOP sentq"),
        ("producer", "HGETALL unacked"),
        ("producer", "PUBLISH /0.celery.pidbox {}"),
        ("producer", "EVAL return 0"),
        # Flower is a web page: it must not read texts or outcomes.
        ("flower", "BRPOP sentq 1"),
        ("flower", "LPUSH sentq {}"),
        ("flower", "GET unacked"),
        ("flower", "GET celery-task-meta-1"),
        ("flower", "PUBLISH celery-task-meta-1 {}"),
        ("worker", "SUBSCRIBE *"),
        # An operator replays dead letters, but must not take or read other jobs.
        ("operator", "LRANGE sentq 0 -1"),
        ("operator", "RPOP sentq"),
        ("operator", "HGETALL unacked"),
        ("operator", "PUBLISH /0.celery.pidbox {}"),
        ("producer", "XRANGE sentq.dead - +"),
        ("producer", "XDEL sentq.dead 1-1"),
        # What an administrator does to the server needs no job.
        ("administrator", "GET celery-task-meta-1"),
        ("administrator", "LRANGE sentq 0 -1"),
        ("administrator", "FLUSHALL"),
        # Other users' results and caches, and the budget of the Hub, are out of reach.
        ("producer", "SET sentq.hub.budget 1"),
        ("producer", "GET sentq.cachehash"),
        ("producer", "SET sentq.deliveries:1 1"),
        ("producer", "CLIENT TRACKING ON BCAST"),
        ("flower", "EVALSHA 0 1 sentq"),
    ],
)
def test_a_user_may_not_run_other_commands(idle: Server, user: str, command: str) -> None:
    with idle.connection(user) as connection, pytest.raises(NoPermissionError):
        connection.execute_command(*command.split())


def test_a_client_without_a_user_name_is_rejected(idle: Server) -> None:
    with idle.connection() as connection, pytest.raises(redis.AuthenticationError):
        connection.ping()
    for command in ("GET a", "MULTI", "EVAL return 0", "SUBSCRIBE a", "ACL WHOAMI", "AUTH x"):
        with idle.connection() as connection, pytest.raises(redis.AuthenticationError):
            connection.execute_command(*command.split())


@pytest.mark.parametrize("program", ["redis-server", "valkey-server"])
def test_what_transactions_and_functions_have_written_survives_a_restart(
    tmp_path: Path, program: str
) -> None:
    users = write_users(tmp_path, "root on >root-secret ~* &* +@all")
    options = ("--aclfile", users)
    with _server(tmp_path, *options, program=on_path(program)) as server:
        with Client(broker_url=server.url("administrator")) as administrator:
            administrator.load_functions()
        with Client(broker_url=server.url("producer")) as client:
            client.submit("a good day", key="order 17")
            client.batch(["a good day", "a bad day"])
        written = _content(server)
        assert "sentq" in written
    with _server(tmp_path, *options, program=on_path(program)) as server:
        assert _content(server) == written


def _content(server: Server) -> dict[str, object]:
    """Return each key with its value, as Redis writes it to a file."""
    with redis.Redis.from_url(server.url("root")) as root:
        return {key.decode(): root.dump(key) for key in root.scan_iter()}
