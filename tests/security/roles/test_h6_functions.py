"""A producer runs no Lua of its own: it calls functions that workers or an administrator load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError

from sentq import Client, JobStatus, errors
from sentq.wire.functions import FUNCTIONS, LIBRARY_NAME, load_functions
from sentq.wire.lua import load_script
from tests.support.processes import RedisProcess, WorkerProcess
from tests.support.redis_state import contents
from tests.support.roles.table import users_server
from tests.support.roles.users import as_role, functions_program, scripts_program

STANDIN = ("tests.support.workers.standin",)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis with users, and without functions."""
    with users_server(tmp_path) as server:
        yield server


@pytest.fixture
def root(server: RedisProcess) -> Iterator[redis.Redis]:
    with server.client() as connection:
        yield connection


def _calls(connection: redis.Redis) -> dict[str, int]:
    """Return how often clients called each command since the statistics were reset."""
    stats: Any = connection.info("commandstats")
    return {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}


@pytest.mark.parametrize("role", ["producer", "operator", "webhooks"])
@pytest.mark.parametrize(
    "command",
    [
        ["EVAL", "while true do end", "0"],
        ["EVAL_RO", "return 1", "0"],
        ["EVAL", "return 1", "1", "sentq"],
        ["EVALSHA", "0" * 40, "0"],
        ["EVALSHA", "0" * 40, "1", "celery-task-meta-1"],
        ["SCRIPT", "LOAD", "return 1"],
        ["SCRIPT", "FLUSH"],
        ["SCRIPT", "KILL"],
        ["FUNCTION", "LOAD", "#!lua name=mine\nredis.register_function('f', function() end)"],
        ["FUNCTION", "DELETE", LIBRARY_NAME],
        ["FUNCTION", "FLUSH"],
        ["FUNCTION", "RESTORE", "payload"],
    ],
    ids=" ".join,
)
def test_a_role_may_not_run_or_load_lua(
    server: RedisProcess, role: str, command: list[str]
) -> None:
    with (
        redis.Redis.from_url(as_role(server.url, role)) as connection,
        pytest.raises(NoPermissionError),
    ):
        connection.execute_command(*command)


def test_a_producer_needs_functions_and_the_error_says_who_loads_them(
    server: RedisProcess, root: redis.Redis
) -> None:
    with Client(broker_url=as_role(server.url, "producer")) as client:
        with pytest.raises(errors.BrokerUnavailable, match="sentq admin load-functions"):
            client.submit("text")
        assert root.dbsize() == 0
        # The client looks again, without a restart.
        load_functions(root)
        assert client.submit("text").status() is JobStatus.QUEUED


@pytest.mark.slow
def test_an_administrator_loads_the_functions_with_a_command(
    server: RedisProcess, root: redis.Redis
) -> None:
    for _ in range(2):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "sentq.cli", "admin", "load-functions"),
                *("--broker-url", as_role(server.url, "administrator")),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert LIBRARY_NAME in done.stderr
        listed = repr(root.function_list())
        assert all(f"'{LIBRARY_NAME}_{name}'" in listed for name in FUNCTIONS)


def test_a_worker_loads_the_functions_and_jobs_are_sent_by_them(
    server: RedisProcess, root: redis.Redis, tmp_path: Path
) -> None:
    environment = {"SENTQ_BROKER_URL": as_role(server.url, "worker")}
    worker = WorkerProcess(tmp_path, environment, STANDIN).wait_until_ready()
    try:
        assert LIBRARY_NAME in worker.log
        root.config_resetstat()
        root.acl_log_reset()
        with Client(broker_url=as_role(server.url, "producer")) as client:
            jobs = [client.submit("text", key="key"), *client.submit_many([["a"]] * 700)]
            assert len(list(client.results(jobs, timeout=30))) == 701
            assert len(list(client.map(["text"] * 100, timeout=30))) == 100
        assert root.acl_log() == []
        # One for a submit, one for each 500 jobs, one for each job of `map`. A worker calls one to
        # read the reports of others.
        assert _calls(root)["fcall"] >= 1 + 2 + 2
    finally:
        assert worker.stop() == 0


def test_a_client_finds_out_once_how_to_run_scripts(tmp_path: Path) -> None:
    for program, has_functions in ((functions_program(), True), (scripts_program(), False)):
        folder = tmp_path / f"functions-{has_functions}"
        folder.mkdir()
        server = RedisProcess(program, folder).start()
        try:
            with server.client() as root, Client(broker_url=server.url) as client:
                if has_functions:
                    load_functions(root)
                root.config_resetstat()
                for _ in range(5):
                    client.submit("text")
                calls = _calls(root)
            if has_functions:
                assert calls["fcall"] == 5
                assert "evalsha" not in calls
            else:
                # The first call finds no script either.
                assert calls["evalsha"] == 6
        finally:
            server.stop()


def test_functions_of_several_versions_are_kept_beside_each_other(
    server: RedisProcess, root: redis.Redis
) -> None:
    name = "sentq_0123456789ab"
    other = "redis.register_function('{0}_push_jobs', function() return 'other' end)"
    root.function_load(f"#!lua name={name}\n{other.format(name)}")
    assert load_functions(root)
    assert not load_functions(root)
    assert load_functions(root, replace=True)
    assert len(root.function_list()) == 2
    assert root.fcall(f"{name}_push_jobs", 0) == b"other"
    with Client(broker_url=as_role(server.url, "producer")) as client:
        client.submit("text")


def test_functions_survive_a_restart_of_redis(server: RedisProcess) -> None:
    with server.client() as root:
        load_functions(root)
    server.stop()
    server.start()
    with Client(broker_url=as_role(server.url, "producer")) as client:
        assert client.submit("text").status() is JobStatus.QUEUED


def test_an_older_redis_has_no_functions_and_the_error_says_so(tmp_path: Path) -> None:
    server = RedisProcess(scripts_program(), tmp_path).start()
    try:
        with (
            Client(broker_url=server.url) as client,
            pytest.raises(errors.BrokerUnavailable, match="Redis 7"),
        ):
            client.load_functions()
    finally:
        server.stop()


#: Keys and arguments with which each function does what it is for.
CALLS: dict[str, tuple[list[str], list[object]]] = {
    "begin_request": (["new request"], ["fingerprint", "attempt", 1000, 60, "job"]),
    "cancel_batch_jobs": (
        ["batch", "batches", "cancelled", "queued"],
        [60, "the batch", 0, '{"status": "REVOKED"}'],
    ),
    "cancel_job": (
        ["queued", "none", "cancelled", "batches"],
        ['{"status": "REVOKED"}', 60, "id", "batch-"],
    ),
    "close_batch": (["batch", "batches"], [60]),
    "end_request": (["request"], ["attempt"]),
    "open_batch": (["opened"], [60, "{}"]),
    "push_batch_jobs": (
        ["list", "sent", "batch", "batches", "list:3"],
        [60, "document", 9, 9999, 1, "i" * 32, "", "a", "b"],
    ),
    "push_jobs": (["list", "sent"], [60, "document", "a", "b"]),
    "push_jobs_with_conditions": (
        ["list", "sent", "list:3", "key"],
        [60, "document", 9, 9999, 1, 1, "id", "ab", "message"],
    ),
    "read_dead_letter_codes": (["dead"], ["0", 10, 1000]),
    "read_reports": (["index"], ["report:"]),
    "release_key": (["reserved"], ["id", "ab"]),
    "requeue_one_result": (["failed"], ["document", 60]),
    "reserve_key": (["key"], ["id", "ab", 60]),
    "retry_dead_letter": (["dead", "list", "failed"], ["1-1", "message", "document", 60]),
    "retry_webhook": (["due", "gone", "webhook", "disabled"], ["id"]),
    "settle_webhook": (
        ["due", "gone", "webhook", "disabled"],
        ["id", 1, "dead", 60, 9, "w:", "last_error", "e"],
    ),
    "take_tokens": (["bucket"], [10, 1]),
    "take_webhooks": (["list", "due", "gone"], ["w:", 9, 1000, 9, 9]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_does_what_its_script_does(root: redis.Redis, name: str) -> None:
    load_functions(root)
    function, script = FUNCTIONS[name], load_script("sentq.wire", name)
    assert function.text == script.text
    keys, arguments = CALLS[name]
    found = []
    for command in (script, function):
        root.flushdb()
        root.set("queued", '{"status": "PENDING"}')
        root.set("failed", '{"status": "FAILURE"}')
        root.set("reserved", "?id ab")
        root.hset("batch", "total", 1)
        root.set("batch:states", b"\0")
        root.zadd("index", {"w": 1})
        root.set("report:w", "report")
        root.xadd("dead", {"message": "m"}, id="1-1")
        root.hset("request", "attempt", "attempt")
        root.zadd("due", {"id": 1})
        root.hset("webhook", "attempts", 1)
        before = contents(root)
        reply = command.run(root, keys, arguments)
        # What was taken begins with the time.
        reply = reply[1:] if name == "take_webhooks" else reply
        after = contents(root)
        changed = {key for key in before | after if before.get(key) != after.get(key)}
        assert changed or name.startswith("read_")
        found.append((reply, changed))
    assert found[0] == found[1]
    assert _calls(root)["fcall"] == 1


def test_a_full_redis_refuses_functions_as_it_refuses_scripts(
    server: RedisProcess, root: redis.Redis
) -> None:
    load_functions(root)
    with Client(broker_url=as_role(server.url, "producer")) as client:
        client.submit("text")
        root.config_set("maxmemory", 1)
        with pytest.raises(errors.RedisFull):
            client.submit("text")
