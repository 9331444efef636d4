"""All kinds of Redis that kombu supports: versions, TLS, Sentinel, users, prefixes, databases."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from celery import Celery, group

from sentq import AsyncClient, Client, JobStatus, errors
from sentq.admin.dead import RetryResult
from sentq.results.cancel import cancelled_ids
from sentq.wire.dead_letters import dead_letter_fields
from sentq.wire.reports import WorkerReport, write_report
from tests.support.celery.site import stock_app
from tests.support.gateway.process import GatewayProcess
from tests.support.missing import bundled_redis, on_path, redis_program, skip_without
from tests.support.processes import RedisProcess, WorkerProcess, eventually, free_port
from tests.support.roles.users import without_user
from tests.support.workers.redis_kinds import with_options
from tests.support.workers.standin import has_hash_scores

pytestmark = pytest.mark.slow

WAIT_S: Final = 30
NAME: Final = "kinds@test"
MASTER: Final = "the-master"
PREFIX: Final = "acme:"
HASH_TAG: Final = "{acme}:"
#: Each special character has a meaning in a URL.
PASSWORD: Final = "p@ss:w/o?r#d%"
PASSWORD_IN_URL: Final = "p%40ss%3Aw%2Fo%3Fr%23d%25"


@dataclass
class RedisKind:
    """A running Redis, and its address."""

    server: RedisProcess
    url: str
    #: The test's own connection to the database of jobs.
    redis: redis.Redis
    #: Transport options that are not part of a URL.
    options: dict[str, Any] = field(default_factory=dict)

    def key(self, name: str) -> str:
        """Return a key with the global key prefix."""
        return f"{self.options.get('global_keyprefix', '')}{name}"


@contextmanager
def _run(folder: Path, *options: str, program: Path | None = None) -> Iterator[RedisProcess]:
    folder.mkdir()
    server = RedisProcess(program or redis_program(), folder, *options)
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def _plain(folder: Path, *, program: Path | None = None) -> Iterator[RedisKind]:
    with _run(folder / "redis", program=program) as server, server.client() as client:
        yield RedisKind(server, without_user(server.url), client)


@contextmanager
def _password(folder: Path) -> Iterator[RedisKind]:
    with (
        _run(folder / "redis") as server,
        redis.Redis(port=server.port, db=5) as client,
    ):
        client.config_set("requirepass", PASSWORD)
        yield RedisKind(server, f"redis://:{PASSWORD_IN_URL}@127.0.0.1:{server.port}/5", client)


@contextmanager
def _user(folder: Path) -> Iterator[RedisKind]:
    with _run(folder / "redis") as server, server.client() as client:
        client.execute_command(
            *("ACL", "SETUSER", "scorer", "on", f">{PASSWORD}", "~*", "&*", "+@all"),
            *("-@admin", "-@dangerous"),
        )
        client.config_set("requirepass", "the operator's")
        yield RedisKind(
            server, f"redis://scorer:{PASSWORD_IN_URL}@127.0.0.1:{server.port}/0", client
        )


@contextmanager
def _socket(folder: Path) -> Iterator[RedisKind]:
    # The path of a socket must be short; the path of a test's folder is long.
    with tempfile.TemporaryDirectory(prefix="sentq-") as short:
        path = f"{short}/redis.sock"
        with _run(folder / "redis", "--unixsocket", path) as server, server.client() as client:
            yield RedisKind(server, f"redis+socket://{path}?virtual_host=0", client)


@contextmanager
def _prefix(folder: Path) -> Iterator[RedisKind]:
    with _plain(folder) as kind:
        kind.options["global_keyprefix"] = PREFIX
        yield kind


@contextmanager
def _cluster(folder: Path) -> Iterator[RedisKind]:
    """A Redis in cluster mode, of one node that has all slots. It refuses a command for keys of
    more than one slot, so all keys need a prefix with a hash tag."""
    # By default its second port is 10,000 above the first: where outgoing connections may be.
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with _run(folder / "redis", *options) as server, server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        eventually(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        yield RedisKind(server, without_user(server.url), client, {"global_keyprefix": HASH_TAG})


@contextmanager
def _tls(folder: Path) -> Iterator[RedisKind]:
    program = redis_program()
    # The server names the first unknown option, and exits.
    command = [str(program), "--tls-port", "0", "--no-such-option", "x"]
    reply = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    if "tls-port" in reply.stdout + reply.stderr:
        skip_without("TLS", f"{program} was built without it")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = [
        *("req", "-x509", "-newkey", "ec", "-nodes", "-days", "1"),
        *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key)),
        *("-out", str(certificate)),
    ]
    subprocess.run([on_path("openssl"), *command], check=True, capture_output=True)
    port = free_port()
    options = {
        "--tls-port": port,
        "--tls-cert-file": certificate,
        "--tls-key-file": key,
        "--tls-ca-cert-file": certificate,
        "--tls-auth-clients": "no",
    }
    words = [str(word) for option in options.items() for word in option]
    with _run(folder / "redis", *words, program=program) as server, server.client() as client:
        query = f"ssl_cert_reqs=required&ssl_ca_certs={certificate}"
        yield RedisKind(server, f"rediss://127.0.0.1:{port}/0?{query}", client)


@contextmanager
def _sentinel(folder: Path) -> Iterator[RedisKind]:
    with _plain(folder) as kind, _sentinel_for(folder, kind.server) as port:
        options = {"master_name": MASTER}
        yield RedisKind(kind.server, f"sentinel://127.0.0.1:{port}/0", kind.redis, options)


@contextmanager
def _sentinel_for(folder: Path, master: RedisProcess) -> Iterator[int]:
    """Run a Sentinel that monitors a Redis, and yield its port."""
    port = free_port()
    configuration = folder / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 1\n"
        f"sentinel down-after-milliseconds {MASTER} 300\n"
        f"sentinel failover-timeout {MASTER} 2000\n"
    )
    process = subprocess.Popen(
        [redis_program(), configuration, "--sentinel"], stdout=subprocess.DEVNULL
    )
    try:
        with redis.Redis(port=port) as client:
            eventually(lambda: _knows_master(client), what="a Sentinel that knows its master")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _knows_master(sentinel: redis.Redis) -> bool:
    try:
        return bool(sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER))
    except redis.ConnectionError:
        return False


KINDS: Final[dict[str, Callable[[Path], AbstractContextManager[RedisKind]]]] = {
    "the server on PATH": lambda folder: _plain(folder, program=on_path("redis-server")),
    "valkey": lambda folder: _plain(folder, program=on_path("valkey-server")),
    "redis 6.2": lambda folder: _plain(folder, program=bundled_redis()),
    "a password and a database": _password,
    "a user": _user,
    "a socket": _socket,
    "a key prefix": _prefix,
    "cluster mode": _cluster,
    "TLS": _tls,
    "Sentinel": _sentinel,
}


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisKind]:
    """Run each kind of Redis in turn."""
    with request.param(tmp_path) as kind:
        yield kind


@contextmanager
def _worker(folder: Path, kind: RedisKind, **environment: str) -> Iterator[WorkerProcess]:
    """Run a worker, and check that it ends with exit code 0."""
    variables = {"SENTQ_BROKER_URL": kind.url, "SENTQ_TRANSPORT_OPTIONS": json.dumps(kind.options)}
    command = (
        "celery",
        "-A",
        "tests.support.workers.redis_kinds",
        "worker",
        "--hostname",
        NAME,
        "--loglevel",
        "INFO",
    )
    worker = WorkerProcess(folder, variables | environment, (*command, "--without-mingle"))
    try:
        yield worker.wait_until_ready()
    finally:
        code = worker.stop()
    assert code == 0


@contextmanager
def _stock(kind: RedisKind) -> Iterator[Celery]:
    with stock_app(kind.url) as stock:
        yield with_options(stock, kind.options)


def _score(stock: Celery, text: str, **options: Any) -> Any:
    return stock.send_task("sentq.score", args=[[text]], **({"queue": "sentq"} | options))


def test_jobs_are_taken_and_scored(kind: RedisKind, tmp_path: Path) -> None:
    with _worker(tmp_path, kind) as worker, _stock(kind) as stock:
        jobs = {f"text {number}": _score(stock, f"text {number}") for number in range(20)}
        jobs["later"] = _score(stock, "later", countdown=0.1)
        jobs["bulk"] = _score(stock, "bulk", queue="sentq.bulk")
        assert all(has_hash_scores(job.get(timeout=WAIT_S), text) for text, job in jobs.items())
        signature = stock.signature("sentq.score", args=(["part"],), queue="sentq")
        together = group(signature, signature, app=stock).apply_async()
        assert len(together.get(timeout=WAIT_S)) == 2
        inspect = stock.control.inspect(destination=[NAME], timeout=10)
        assert inspect.ping() == {NAME: {"ok": "pong"}}
        shown = repr((inspect.conf(), inspect.stats(), inspect.report())) + worker.log
        assert PASSWORD not in shown
        assert PASSWORD_IN_URL not in shown
        kind.redis.lpush(kind.key("sentq"), "no message")
        eventually(lambda: kind.redis.xlen(kind.key("sentq.dead")) == 1)
        eventually(lambda: not kind.redis.exists(kind.key("unacked")))
        assert not kind.redis.exists(kind.key("unacked_index"))
        assert kind.redis.exists(kind.key(f"celery-task-meta-{jobs['later'].id}"))
        keys = [key.decode() for key in kind.redis.scan_iter(count=1000)]
        assert [key for key in keys if not key.startswith(kind.key(""))] == []
        with Client(broker_url=kind.url, transport_options=kind.options) as client:
            assert client.submit("ours").result(timeout=WAIT_S).outcomes
            assert len(list(client.map(["a", "b"], timeout=WAIT_S))) == 2


def test_the_client_for_asyncio_works(kind: RedisKind, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncClient(broker_url=kind.url, transport_options=kind.options) as client:
            job = await client.submit("ours", key="key")
            assert (await client.submit("ours", key="key")).id == job.id
            assert has_hash_scores(await job.result(timeout=WAIT_S), "ours")
            assert [each async for each in client.map(["a", "b"], timeout=WAIT_S)]
            later = await client.submit("later", bulk=True)
            assert has_hash_scores(await later.result(timeout=WAIT_S), "later")
            # The worker's first report may not name its queues yet.
            while not (readers := (await client.backlog()).workers):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            (worker,) = (await client.service_status()).workers
            assert [reader.worker for reader in readers] == [worker.worker]
            assert await client.dead.count() == {}
            assert not await later.cancel()

    with _worker(tmp_path, kind):
        asyncio.run(asyncio.wait_for(main(), 2 * WAIT_S))


def test_the_client_for_asyncio_closes_connections_to_a_frozen_server_with_tls(
    tmp_path: Path,
) -> None:
    async def main(kind: RedisKind) -> None:
        assert kind.server.process is not None
        async with AsyncClient(broker_url=kind.url) as client:
            job = await client.submit("text")
            with pytest.raises(TimeoutError):
                await job.result(timeout=0.2)
            kind.server.process.send_signal(signal.SIGSTOP)

    with _tls(tmp_path) as kind, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert kind.server.process is not None
        try:
            asyncio.run(asyncio.wait_for(main(kind), 2 * WAIT_S))
        finally:
            kind.server.process.send_signal(signal.SIGCONT)
        gc.collect()
        assert [str(each.message) for each in seen] == []


def test_the_client_for_asyncio_goes_on_after_a_restart_of_a_server_with_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in Python 3.11.2, that of Debian 12, with a transport that the server has closed.
    def fail(transport: object) -> None:
        raise AttributeError("'NoneType' object has no attribute '_abort'")

    monkeypatch.setattr("asyncio.sslproto._SSLProtocolTransport.abort", fail)

    async def main(kind: RedisKind) -> None:
        async with AsyncClient(broker_url=kind.url) as client:
            await client.submit("text")
            kind.server.kill()
            with pytest.raises(errors.BrokerUnavailable):
                await client.submit("text")
            kind.server.start()
            assert (await client.submit("text")).id

    with _tls(tmp_path) as kind:
        asyncio.run(asyncio.wait_for(main(kind), 2 * WAIT_S))


def test_send_options_and_replay_of_dead_letters_work(kind: RedisKind) -> None:
    with Client(
        broker_url=kind.url,
        transport_options=kind.options,
        max_queued_jobs=2,
        max_queued_bytes=4_000_000,
    ) as client:
        job = client.submit("text", key="key", deadline=60, local_only=True)
        assert client.submit("text", key="key", local_only=True).id == job.id
        other = client.submit("text")
        with pytest.raises(errors.QueueFull):
            client.submit("text")
        assert other.cancel()
        assert other.status() is JobStatus.CANCELLED
        assert list(cancelled_ids(client._app)) == [other.id]
        raw = kind.redis.rpop(kind.key("sentq"))
        assert isinstance(raw, bytes)
        fields = dead_letter_fields(
            code="worker_lost", reason="r", message=raw, job_id=job.id, queue="sentq"
        )
        kind.redis.execute_command("XADD", kind.key("sentq.dead"), "*", *fields)
        report = WorkerReport(worker="w", at_s=1, started_at_s=1)
        write_report(kind.redis, report, lifetime_s=60, prefix=kind.key(""))
        seen = client.service_status()
        assert (seen.queues[0].waiting_jobs, seen.dead_letters) == (1, 1)
        assert seen.workers == (report,)
        (dead_letter,) = client.dead.entries()
        assert client.dead.retry(dead_letter) is RetryResult.RETRIED
        assert kind.redis.llen(kind.key("sentq")) == 2
        assert client.dead.count() == {}
        keys = [key.decode() for key in kind.redis.scan_iter(count=1000)]
        assert [key for key in keys if not key.startswith(kind.key(""))] == []


@pytest.mark.parametrize("make", [_prefix, _sentinel], ids=["a prefix", "Sentinel"])
def test_jobs_that_a_worker_cannot_finish_are_requeued(
    make: Callable[[Path], AbstractContextManager[RedisKind]], tmp_path: Path
) -> None:
    with make(tmp_path) as kind, _stock(kind) as stock:
        slow = {"STANDIN_DELAY_S": "20", "SENTQ_WORKER_SHUTDOWN_GRACE_S": "0"}
        with _worker(tmp_path, kind, **slow):
            jobs = {f"text {number}": _score(stock, f"text {number}") for number in range(3)}
            eventually(lambda: kind.redis.hlen(kind.key("unacked")) == 3)
        assert kind.redis.llen(kind.key("sentq")) == 3
        assert not kind.redis.exists(kind.key("unacked"), kind.key("unacked_index"))
        with _worker(tmp_path, kind):
            assert all(has_hash_scores(job.get(timeout=WAIT_S), text) for text, job in jobs.items())


def test_a_server_with_an_unknown_certificate_is_not_trusted(tmp_path: Path) -> None:
    with _tls(tmp_path) as kind:
        url = kind.url.partition("?")[0] + "?ssl_cert_reqs=required"
        with Client(broker_url=url) as client, pytest.raises(errors.BrokerUnavailable):
            client.submit("not sent")
        assert not kind.redis.dbsize()


def test_behind_sentinel_hundreds_of_jobs_are_one_round_trip(tmp_path: Path) -> None:
    """For the client that sends and reads them, and for the worker that takes and stores them."""

    def requests(connection: redis.Redis) -> int:
        found: Any = connection.info("stats")
        return int(found["total_reads_processed"])

    with (
        _sentinel(tmp_path) as kind,
        _worker(tmp_path, kind),
        Client(broker_url=kind.url, transport_options=kind.options) as client,
    ):
        assert client.submit("text").result(timeout=WAIT_S).outcomes
        before = requests(kind.redis)
        jobs = client.submit_many(["text"] * 1000)
        assert len(list(client.results(jobs, timeout=WAIT_S))) == 1000
        assert requests(kind.redis) - before < 400


def test_behind_sentinel_batches_and_callbacks_work(tmp_path: Path) -> None:
    allowed = {"SENTQ_WORKER_FOLLOW_QUEUES": "kept", "SENTQ_WORKER_FOLLOW_TASKS": "app.save"}
    with (
        _sentinel(tmp_path) as kind,
        _worker(tmp_path, kind, **allowed),
        _stock(kind) as stock,
        Client(broker_url=kind.url, transport_options=kind.options) as client,
    ):
        save = stock.signature("app.save").set(queue="kept")
        batch = client.batch(["a", "b"], then=save)
        job = client.submit("c", then=save)
        assert (batch.wait(WAIT_S).done, batch.progress().is_complete) == (2, True)
        eventually(lambda: kind.redis.llen("kept") == 2, what="two callbacks")
        messages: Any = kind.redis.lrange("kept", 0, -1)
        bodies = [base64.b64decode(json.loads(each)["body"]) for each in messages]
        assert {json.loads(each)[0][0] for each in bodies} == {batch.id, job.id}


@pytest.mark.parametrize("make", [_sentinel, _tls, _cluster], ids=["Sentinel", "TLS", "cluster"])
def test_a_gateway_works(
    make: Callable[[Path], AbstractContextManager[RedisKind]], tmp_path: Path
) -> None:
    with make(tmp_path) as kind, _worker(tmp_path, kind), ExitStack() as stack:
        options = json.dumps(kind.options)
        gateway = GatewayProcess(tmp_path, kind.url, SENTQ_TRANSPORT_OPTIONS=options)
        stack.callback(gateway.stop)
        with gateway.wait_until_ready().client() as http:
            scored = http.post("/v1/score", json={"texts": ["a text"]})
            assert has_hash_scores(scored.json(), "a text")
            uploaded = http.post(
                "/v1/batches",
                content=b'{"text": "one"}\n{"text": "two"}\n',
                headers={"content-type": "application/jsonl"},
            )
            batch = uploaded.headers["location"]
            eventually(lambda: http.get(batch).json()["is_complete"], what="a scored batch")
            assert len(http.get(f"{batch}/results").text.splitlines()) == 2


def test_worker_and_client_follow_sentinel_to_the_new_master(tmp_path: Path) -> None:
    with ExitStack() as stack:
        at_once = ("--repl-diskless-sync-delay", "0")
        master = stack.enter_context(_run(tmp_path / "redis", *at_once))
        follows = ("--replicaof", "127.0.0.1", str(master.port))
        second = stack.enter_context(_run(tmp_path / "replica", *follows))
        first_client, second_client = (
            stack.enter_context(server.client()) for server in (master, second)
        )
        eventually(lambda: first_client.wait(1, 100) == 1, what="a synchronized replica")
        port = stack.enter_context(_sentinel_for(tmp_path, master))
        kind = RedisKind(
            master, f"sentinel://127.0.0.1:{port}/0", first_client, {"master_name": MASTER}
        )
        sentinel = stack.enter_context(redis.Redis(port=port))
        eventually(lambda: sentinel.sentinel_master(MASTER)["num-slaves"] == 1)
        worker = stack.enter_context(_worker(tmp_path, kind))
        with _stock(kind) as stock:
            assert has_hash_scores(_score(stock, "before").get(timeout=WAIT_S), "before")
        assert first_client.wait(1, 10_000) == 1
        assert master.process is not None
        master.process.send_signal(signal.SIGKILL)
        eventually(lambda: second_client.role()[0] == b"master", what="a failover")
        with _stock(kind) as stock:
            assert has_hash_scores(_score(stock, "after").get(timeout=WAIT_S), "after")
        assert worker.process.poll() is None
