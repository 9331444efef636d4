"""Each role of `configs/users.acl` may do what it needs, and nothing else (Redis 7)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis
from redis.exceptions import NoPermissionError, ResponseError

from sentq import Client, JobStatus
from sentq.wire.functions import LIBRARY_NAME, load_functions
from tests.support.processes import RedisProcess
from tests.support.roles import table
from tests.support.roles.users import ROLES, as_role

pytestmark = pytest.mark.redis

#: How the names begin that producers may write: of their messages, of documents of their jobs, and
#: of cancellations.
WRITTEN_BY_PRODUCERS = {
    *("sentq", "sentq.bulk", "celery-task-meta-", "celery-taskset-meta-", "sentq-sent-"),
    *("sentq-key-", "sentq.cancelled", "_kombu.binding.sentq", "_kombu.binding_permanent.sentq"),
    *("sentq-batch-", "sentq.batches"),
}
READING = {"get", "mget", "llen", "lindex", "memory usage", "zrange", "smembers", "exists"}
READING |= {"xlen", "xrange", "zcard", "zcount", "hgetall"}

#: They run no command of their own: Redis checks the rights for each command in them.
CALLING = {"fcall", "eval", "evalsha"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with table.users_server(tmp_path_factory.mktemp("users")) as server:
        with server.client() as root:
            load_functions(root)
        yield server


@pytest.fixture(scope="module")
def rights(server: RedisProcess) -> dict[str, table.KeyRights]:
    with server.client() as root:
        return {role: table.measured_rights(root, role) for role in ROLES}


@pytest.fixture
def producer(server: RedisProcess) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(as_role(server.url, "producer")) as connection:
        yield connection


@pytest.fixture
def root(server: RedisProcess) -> Iterator[redis.Redis]:
    with server.client() as connection:
        connection.flushall()
        yield connection


# --- The table -------------------------------------------------------------------------------


def test_the_page_lists_what_redis_permits(rights: dict[str, table.KeyRights]) -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert page.partition(table.BEGIN)[2] == f"\n{table.page(rights)}", "run `make docs`"


def test_every_key_of_the_documents_is_in_the_table(rights: dict[str, table.KeyRights]) -> None:
    names = table.key_names()
    assert len(names) >= 20
    assert set(rights["producer"].by_key) == set(names)


def test_a_producer_writes_only_what_is_its_own(rights: dict[str, table.KeyRights]) -> None:
    written = {
        name.partition("<")[0]
        for name, commands in rights["producer"].by_key.items()
        if commands - READING - CALLING
    }
    assert written == WRITTEN_BY_PRODUCERS


def test_a_gateway_writes_what_a_producer_does_and_its_own_keys(
    rights: dict[str, table.KeyRights],
) -> None:
    for name, commands in rights["gateway"].by_key.items():
        more = commands - rights["producer"].by_key[name] - READING - {"hget"}
        assert not more or name.startswith(("sentq-gateway-", "sentq.webhook")), (name, more)
    # It cannot make keys for itself.
    assert rights["gateway"].by_key["sentq.gateway.keys"] == {"exists", "hget"}


def test_only_workers_write_what_workers_tell(rights: dict[str, table.KeyRights]) -> None:
    told = [
        *("sentq.worker:<name>", "sentq.workers", "sentq.hub.budget", "sentq.cache<hash>"),
        *("sentq.breaker:<host>", "sentq.deliveries:<job id>", "unacked", "unacked_index"),
        "sentq.history:<slot>",
    ]
    for role in set(ROLES) - {"worker"}:
        for name in told:
            assert not rights[role].by_key.get(name, frozenset()) - READING - CALLING, (role, name)


def test_texts_are_read_by_workers_and_operators_only(rights: dict[str, table.KeyRights]) -> None:
    reading = {"lrange", "lindex", "lpop", "rpop", "brpop", "blmove", "hget", "hmget", "xrange"}
    reading |= {"get", "mget", "dump", "sort", "copy", "getrange", "lmove", "hgetall", "xread"}
    for role in ("producer", "gateway", "flower", "administrator"):
        for name in ("sentq", "sentq.bulk", "sentq<priority>", "unacked", "sentq.dead"):
            assert not rights[role].by_key[name] & reading, (role, name)


def test_no_role_reaches_keys_of_other_applications(rights: dict[str, table.KeyRights]) -> None:
    (name,) = (name for name in table.key_names() if "another application" in name)
    assert {role for role in ROLES if rights[role].by_key[name]} == set()


def test_producers_and_operators_run_no_lua_of_their_own(
    rights: dict[str, table.KeyRights],
) -> None:
    running = {"eval", "evalsha", "eval_ro", "evalsha_ro", "script load", "function load"}
    running |= {"function restore"}
    able = {
        role
        for role in ROLES
        if running & rights[role].others
        or any(running & commands for commands in rights[role].by_key.values())
    }
    # Kombu needs scripts for the replies of workers. An administrator loads functions, and has no
    # key to run one on.
    assert able == {"worker", "flower", "administrator"}
    assert not any(rights["administrator"].by_key.values())


# --- The attacks -----------------------------------------------------------------------------


ATTACKS = {
    "delete a queue": "DEL sentq sentq.dead",
    "overwrite a queue": "SET sentq junk",
    "shorten a queue": "LTRIM sentq 1 0",
    "rename a queue": "RENAME sentq sentq-sent-1",
    "read a text": "LRANGE sentq 0 -1",
    "read a text by moving it": "LMOVE sentq sentq-sent-1 LEFT LEFT",
    "read a text by copying it": "COPY sentq sentq-sent-1",
    "take a job": "RPOP sentq",
    "read jobs in flight": "HGETALL unacked",
    "lose jobs in flight": "DEL unacked_index",
    "overwrite the Hub's budget": "HSET sentq.hub.budget day 0",
    "make scheduled jobs due": "ZADD sentq.scheduled 0 1",
    "lose scheduled jobs": "DEL sentq.scheduled",
    "learn the ids of scheduled jobs": "ZRANGE sentq.scheduled 0 -1",
    "read scheduled jobs": "HGETALL sentq.scheduled.messages",
    "have a worker push to any list": "HSET sentq.scheduled.messages 1 list",
    "open a breaker": "HSET sentq.breaker:host state open",
    "forge a worker's report": "SET sentq.worker:w {}",
    "forge the index of reports": "ZADD sentq.workers 9e12 w",
    "read a cached prediction": "GET sentq.cache0",
    "overwrite a cached prediction": "SET sentq.cache0 {}",
    "empty the cache": "ZREMRANGEBYRANK sentq.cache 0 -1",
    "forge a dead letter": "XADD sentq.dead * code malformed reason r message m",
    "read dead letters": "XRANGE sentq.dead - +",
    "forge a count of deliveries": "SET sentq.deliveries:1 {}",
    "stop a worker": "PUBLISH /0.celery.pidbox {}",
    "forge an event": "PUBLISH /0.celeryev/task.failed {}",
    "learn all job ids from keys": "SCAN 0",
    "learn all job ids from channels": "PUBSUB CHANNELS *",
    "learn all job ids from invalidations": "CLIENT TRACKING ON BCAST PREFIX celery-task-meta-",
    "receive all results": "PSUBSCRIBE celery-task-meta-*",
    "learn all batch ids": "PSUBSCRIBE sentq-batch-*",
    "learn the ids of complete batches": "ZRANGE sentq.batches 0 -1",
    "remove a complete batch": "ZREM sentq.batches sentq-batch-1",
    "delete a batch": "DEL sentq-batch-1",
    "watch all commands": "MONITOR",
    "list connections": "CLIENT LIST",
    "read settings": "CONFIG GET *",
    "use another database": "SELECT 1",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_producer_may_not(producer: redis.Redis, attack: str) -> None:
    with pytest.raises(NoPermissionError):
        producer.execute_command(*attack.split())


def _call(connection: redis.Redis, name: str, keys: list[str], arguments: list[object]) -> object:
    command = ("FCALL", f"{LIBRARY_NAME}_{name}", len(keys), *keys, *arguments)
    return connection.execute_command(*command)


def test_functions_give_a_producer_no_further_rights(
    producer: redis.Redis, root: redis.Redis
) -> None:
    root.lpush("sentq", "a job")
    root.xadd("sentq.dead", {"message": "m"}, id="1-1")
    attacks: list[tuple[str, list[str], list[object]]] = [
        # A queue as the document of a job, an idempotency key or a report.
        ("push_jobs", ["sentq.bulk", "sentq"], [60, "junk", "message"]),
        ("release_key", ["sentq"], ["1"]),
        ("reserve_key", ["sentq.cancelled"], ["1", 60]),
        ("requeue_one_result", ["sentq"], ["junk", 60]),
        ("read_reports", ["sentq"], ["unacked"]),
        ("read_dead_letter_codes", ["sentq.dead"], ["0", 10, 1000]),
        ("cancel_job", ["sentq", "sentq", "sentq", "sentq"], ["junk", 60, "1", ""]),
        # A queue as a batch.
        ("open_batch", ["sentq"], [60, "junk"]),
    ]
    for name, keys, arguments in attacks:
        before = root.dump("sentq")
        with pytest.raises(ResponseError):
            _call(producer, name, keys, arguments)
        assert root.dump("sentq") == before
    # What they find is no batch for them.
    before = root.dump("sentq")
    assert _call(producer, "close_batch", ["sentq", "sentq"], [60]) == 0
    arguments = [60, "junk", -1, -1, 0, "", "", "message"]
    assert _call(producer, "push_batch_jobs", ["sentq"] * 4, arguments) == [-3]
    assert root.dump("sentq") == before
    with pytest.raises(NoPermissionError):
        _call(producer, "retry_dead_letter", ["sentq.dead", "sentq"], ["1-1", "m", "", 60])
    assert root.xlen("sentq.dead") == 1


def test_arguments_of_functions_make_no_endless_loop(
    producer: redis.Redis, root: redis.Redis
) -> None:
    keys = ["sentq", "celery-task-meta-1", "sentq-key-1"]
    batch = ["sentq-batch-1", "sentq.batches", "sentq.cancelled", "celery-task-meta-1"]
    names = ("push_jobs_with_conditions", "push_jobs", "cancel_job", "reserve_key")
    batch_names = ("push_batch_jobs", "cancel_batch_jobs", "close_batch", "open_batch")
    root.config_resetstat()
    for count in ("0", "-1", "1e18", "-1e18", "inf", "-inf", "nan", "0x7fffffff", ""):
        root.hset("sentq-batch-1", "total", count)
        for name in (*names, *batch_names):
            arguments: list[object] = ["60", "document", *[count] * 4, "id", "message"]
            try:
                _call(producer, name, batch if name in batch_names else keys, arguments)
            except ResponseError:
                continue
    # Both are the sender's: the record of a key, and the digests to compare it with.
    producer.set("sentq-key-1", "id " + "ab " * 50_000)
    reply = _call(producer, "reserve_key", ["sentq-key-1"], ["id", "ac " * 50_000, 60])
    assert reply == [b"conflict"]
    slowest = root.info("commandstats")["cmdstat_fcall"]
    assert slowest["usec_per_call"] < 50_000, slowest


# --- What the roles need ---------------------------------------------------------------------


def test_a_producer_may_submit_cancel_and_read_and_nothing_is_refused(
    server: RedisProcess, root: redis.Redis
) -> None:
    root.acl_log_reset()
    url = as_role(server.url, "producer")
    with Client(broker_url=url, max_queued_jobs=1000, max_queued_bytes=10_000_000) as client:
        one = client.submit("text", key="key")
        many = client.submit_many([["a"], ["b"]], bulk=True)
        assert many[1].cancel()
        assert many[1].status() is JobStatus.CANCELLED
        assert one.status() is JobStatus.QUEUED
        document = {"status": "REVOKED", "result": None, "task_id": one.id}
        root.set(f"celery-task-meta-{one.id}", json.dumps(document))
        assert one.status() is JobStatus.CANCELLED
        batch = client.batch(["a", "b", "c"], then={"task": "shop.store"})
        assert next(batch.jobs()).cancel()
        assert len(list(batch.jobs())) == 3
        assert batch.cancel() == 2
        assert batch.wait(timeout=5).is_complete
        assert len(list(batch.results(timeout=5))) == 3
        assert len(list(batch.as_completed(timeout=5))) == 3
    # A client tries to tell workers of a cancelled job at once; they find out by themselves.
    assert {entry["object"] for entry in root.acl_log()} == {"/0.celery.pidbox"}


def test_an_administrator_may_load_users_and_functions_and_read_what_was_refused(
    server: RedisProcess, producer: redis.Redis, root: redis.Redis
) -> None:
    with pytest.raises(NoPermissionError):
        producer.execute_command("GET", "sentq.cache0")
    root.function_flush("SYNC")
    url = as_role(server.url, "administrator")
    with redis.Redis.from_url(url) as administrator:
        # Redis closes connections of users that it loads again, this one too.
        assert administrator.acl_load()
    with redis.Redis.from_url(url) as administrator:
        assert administrator.acl_log()[0]["object"] == "sentq.cache0"
        assert administrator.config_get("maxmemory")
        assert load_functions(administrator)
        assert administrator.info("memory")
        with pytest.raises(NoPermissionError):
            administrator.execute_command("GET", "sentq.cache0")
