"""Idempotency keys: no sender gets the job of another one's texts, and Redis learns no text."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, cast

import pytest
from celery import signals

from sentq import Client, Settings, errors
from sentq.sending.idempotency import IdempotencyKeys, KeyReservation
from sentq.wire.ids import new_job_ids
from sentq.wire.sealing import load_keyring
from tests.support.processes import RedisProcess, StartWorker, eventually
from tests.support.redis_state import contents

TEXT: Final = "I love CANARY9c41"
OTHER: Final = "I hate CANARY9c41, awful"

#: How jobs are sent, as in `tests/producer/sending/test_options.py`.
PATHS: Final = ("script", "other database", "publish signal")

OpenClient = Callable[..., Client]


def _encryption_key(name: str) -> str:
    return f"{name}:{base64.b64encode(os.urandom(32)).decode()}"


OLD, NEW, LOST = (_encryption_key(name) for name in ("old", "new", "lost"))


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each path of sending."""

    def listen(**_: Any) -> None:
        """Connect to the signal, as tracing libraries do."""

    if request.param == "publish signal":
        signals.before_task_publish.connect(listen)
    yield request.param
    signals.before_task_publish.disconnect(listen)


@pytest.fixture
def open_client(redis_server: RedisProcess) -> Iterator[OpenClient]:
    """Open clients with these encryption keys and settings."""
    with ExitStack() as stack:

        def open_one(*keys: str, path: str = "script", **settings: Any) -> Client:
            results = "/1" if path == "other database" else "/0"
            url = redis_server.url
            urls = {"broker_url": url, "result_url": url.removesuffix("/0") + results}
            client = Client(None, encryption_keys=list(keys), **urls, **settings)
            return stack.enter_context(client)

        yield open_one


def _queued(server: RedisProcess, queue: str = "sentq") -> int:
    with server.client() as redis:
        return int(redis.llen(queue))


def _records(server: RedisProcess) -> dict[str, str]:
    """Return the records of idempotency keys, by the names of their keys in Redis."""
    with server.client() as redis:
        names = cast("list[bytes]", redis.keys("sentq-key-*"))
        return {name.decode(): cast("bytes", redis.get(name)).decode() for name in names}


# --- Another text under the same key -------------------------------------------------------


def test_another_text_under_a_key_is_an_error_that_quotes_nothing(
    redis_server: RedisProcess, open_client: OpenClient, path: str
) -> None:
    first = open_client(path=path).submit(TEXT, key="SECRETKEY")
    # Another client that knows the key does not get the job, nor its id.
    with pytest.raises(errors.KeyConflict, match="result_ttl_s") as refused:
        open_client(path=path).submit(OTHER, key="SECRETKEY")
    assert isinstance(refused.value, errors.InvalidInput)
    said = str(refused.value)
    assert not any(word in said for word in ("CANARY", "SECRETKEY", first.id))
    assert refused.value.accepted == []
    assert _queued(redis_server) == 1
    assert open_client(path=path).submit([TEXT], key="SECRETKEY").id == first.id


@pytest.mark.parametrize(
    "texts", [[TEXT, ""], ["", TEXT], [TEXT[:5], TEXT[5:]], TEXT + " ", TEXT + "\0"]
)
def test_texts_are_the_same_only_if_all_of_them_are(
    open_client: OpenClient, texts: str | list[str]
) -> None:
    client = open_client()
    client.submit(TEXT, key="key")
    with pytest.raises(errors.KeyConflict):
        client.submit(texts, key="key")


def test_a_job_that_may_leave_the_machine_is_not_one_that_must_not(
    open_client: OpenClient, path: str
) -> None:
    client = open_client(path=path)
    client.submit(TEXT, key="key")
    with pytest.raises(errors.KeyConflict, match="local_only"):
        client.submit(TEXT, key="key", local_only=True)


def test_a_repetition_may_change_queue_and_deadline(open_client: OpenClient, path: str) -> None:
    client = open_client(path=path)
    first = client.submit(TEXT, key="key", deadline=60)
    assert client.submit(TEXT, key="key", deadline=50, bulk=True).id == first.id


def test_one_conflict_among_many_jobs_is_named_by_its_place(
    redis_server: RedisProcess, open_client: OpenClient, path: str
) -> None:
    client = open_client(path=path)
    client.submit(TEXT, key="taken")
    with pytest.raises(errors.KeyConflict, match="key of job 2") as refused:
        client.submit_many(["a", "b", OTHER, "c"], keys=["a", "b", "taken", "c"])
    # One script sends all of a step or none; Celery sends one job after the other.
    sent = 0 if path == "script" else 2
    assert len(refused.value.accepted) == sent
    assert _queued(redis_server) == 1 + sent


def test_a_key_that_stands_twice_in_a_call_must_have_the_same_text(
    redis_server: RedisProcess, open_client: OpenClient
) -> None:
    with pytest.raises(errors.KeyConflict, match="job 1"):
        open_client().submit_many([TEXT, OTHER], keys=["key", "key"])
    assert _queued(redis_server) == 0


def test_the_steps_before_a_conflict_are_accepted(
    redis_server: RedisProcess, open_client: OpenClient
) -> None:
    client = open_client()
    client.submit(TEXT, key="700")
    with pytest.raises(errors.KeyConflict, match="key of job 700") as refused:
        client.submit_many([OTHER] * 1203, keys=map(str, range(1203)))
    assert len(refused.value.accepted) == 500
    assert _queued(redis_server) == 501


_RACE: Final = """
import sys
from sentq import Client, KeyConflict
with Client(broker_url=sys.argv[1], result_url=sys.argv[2]) as client:
    for number in range(100):
        try:
            print(client.submit(sys.argv[3], key=f"key {number}").id)
        except KeyConflict:
            print("conflict")
"""


@pytest.mark.slow
@pytest.mark.parametrize("results", ["/0", "/1"], ids=["script", "other database"])
def test_of_racing_clients_with_different_texts_one_has_the_key(
    redis_server: RedisProcess, results: str
) -> None:
    urls = [redis_server.url, redis_server.url.removesuffix("/0") + results]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACE, *urls, text], stdout=subprocess.PIPE, text=True
        )
        for text in (TEXT, TEXT, OTHER)
    ]
    one, two, other = (racer.communicate(timeout=90)[0].split() for racer in racers)
    assert one == two
    for mine, theirs in zip(one, other, strict=True):
        assert (mine == "conflict") != (theirs == "conflict")
    assert _queued(redis_server) == 100


def test_a_script_waits_for_a_job_of_its_key_that_celery_is_sending(
    redis_server: RedisProcess, open_client: OpenClient
) -> None:
    claim = IdempotencyKeys().claim("key", [TEXT], local_only=False)
    (job_id,) = new_job_ids(1)
    reservation = KeyReservation(open_client()._results, claim, job_id, lasts_s=60)
    assert reservation.take() is None
    with ThreadPoolExecutor(2) as threads:
        same = threads.submit(open_client().submit, TEXT, key="key")
        other = threads.submit(open_client().submit, OTHER, key="key")
        reservation.keep(60)
        assert same.result(30).id == job_id
        assert isinstance(other.exception(30), errors.KeyConflict)
    assert _queued(redis_server) == 0


def test_a_record_of_an_older_client_is_accepted(
    redis_server: RedisProcess, open_client: OpenClient
) -> None:
    client = open_client()
    first = client.submit(TEXT, key="key")
    ((name, _),) = _records(redis_server).items()
    with redis_server.client() as redis:
        redis.set(name, first.id)
    assert client.submit(TEXT, key="key").id == first.id


# --- map and the command -------------------------------------------------------------------


def test_map_with_a_key_sends_each_job_once_and_refuses_other_texts(
    redis_server: RedisProcess, open_client: OpenClient
) -> None:
    client = open_client()
    texts = [f"text {number}" for number in range(20)]
    for _ in range(2):
        with pytest.raises(errors.WaitTimeout):
            list(client.map(texts, texts_per_job=5, timeout=0.1, key="nightly"))
    assert _queued(redis_server, "sentq.bulk") == 4
    with pytest.raises(errors.KeyConflict):
        list(client.map([*texts[:-1], OTHER], texts_per_job=5, timeout=0.1, key="nightly"))
    with pytest.raises(errors.InvalidInput, match="key"):
        list(client.map(texts, key=""))
    assert _queued(redis_server, "sentq.bulk") == 4


@pytest.mark.slow
def test_the_command_repeats_safely_with_a_key(
    redis_server: RedisProcess, start_worker: StartWorker, tmp_path: Path
) -> None:
    start_worker(redis_server.url, command=("tests.support.workers.standin",))
    file = tmp_path / "in.txt"
    file.write_text("one\ntwo\n")

    def score() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sentq.cli", "score", str(file), "--key", "nightly"],
            env=os.environ | {"SENTQ_BROKER_URL": redis_server.url},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    first, again = score(), score()
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert again.stdout == first.stdout
    assert len(_records(redis_server)) == 1
    file.write_text(f"one\n{OTHER}\n")
    refused = score()
    assert refused.returncode == 2
    assert "idempotency key" in refused.stderr
    assert "CANARY" not in refused.stderr
    assert "Traceback" not in refused.stderr


# --- Namespaces ----------------------------------------------------------------------------


def test_namespaces_keep_the_keys_of_applications_apart(
    redis_server: RedisProcess, open_client: OpenClient, path: str
) -> None:
    jobs = {
        open_client(path=path, key_namespace=namespace).submit(text, key="order 17").id
        for namespace, text in (("", TEXT), ("shop", OTHER), ("desk", TEXT))
    }
    assert len(jobs) == 3
    again = open_client(path=path, key_namespace="shop").submit(OTHER, key="order 17")
    assert again.id in jobs
    assert _queued(redis_server) == 3


@pytest.mark.parametrize("namespace", ["a b", "a:b", "a*", "é", "x" * 65, "a\n"])
def test_a_namespace_is_a_short_name(namespace: str) -> None:
    with pytest.raises(errors.SettingsError, match="key_namespace"):
        Settings.load(key_namespace=namespace)


def test_access_rules_can_keep_a_producer_to_its_namespace(redis_server: RedisProcess) -> None:
    rules = ["on", ">secret", "+@all", "~sentq", "~celery-task-meta-*", "&*", "~sentq-key-shop:*"]
    with redis_server.client() as redis:
        redis.execute_command("ACL", "SETUSER", "shop", *rules)
        try:
            url = redis_server.url.replace("redis://", "redis://shop:secret@")
            with Client(broker_url=url, key_namespace="shop") as client:
                client.submit(TEXT, key="order 17")
            for namespace in ("", "desk", "shopping"):
                with (
                    Client(broker_url=url, key_namespace=namespace) as client,
                    pytest.raises(errors.BrokerUnavailable, match=r"NOPERM|not for this user"),
                ):
                    client.submit(TEXT, key="order 17")
        finally:
            redis.execute_command("ACL", "DELUSER", "shop")
    assert _queued(redis_server) == 1


# --- What Redis learns ---------------------------------------------------------------------


def _digests(*keys: str, texts: list[str] | None = None) -> str:
    keyring = load_keyring(Settings.load(encryption_keys=list(keys))) if keys else None
    claim = IdempotencyKeys("", keyring).claim("key", texts or [TEXT], local_only=False)
    return claim.recorded


def test_a_digest_without_the_idempotency_key_tells_nothing_of_a_text(
    redis_server: RedisProcess, open_client: OpenClient
) -> None:
    client = open_client()
    client.submit_many([TEXT, TEXT], keys=["key 1", "key 2"])
    one, two = (record.split()[1] for record in _records(redis_server).values())
    assert one != two, "equal texts cannot be recognised by their digests"


def test_with_encryption_only_keyed_digests_are_in_redis(
    redis_server: RedisProcess, open_client: OpenClient, path: str
) -> None:
    open_client(NEW, OLD, path=path).submit(TEXT, key="key")
    databases = [0, 1] if path == "other database" else [0]
    found = b""
    for database in databases:
        with redis_server.client() as redis:
            redis.select(database)
            found += repr(contents(redis)).encode()
    # One who knows the idempotency key and guesses the text could otherwise test the guess.
    assert _digests().encode() not in found
    assert _digests(NEW, OLD).encode() in found
    assert b"CANARY" not in found


def test_the_commands_of_a_sender_with_encryption_hold_no_text(
    own_redis: RedisProcess, open_client: OpenClient
) -> None:
    with (
        own_redis.client() as redis,
        redis.monitor() as monitor,
        Client(broker_url=own_redis.url, encryption_keys=[NEW]) as client,
        own_redis.client() as after,
    ):
        client.submit(TEXT, key="SECRETKEY")
        after.echo("end of test")
        seen = ""
        for command in monitor.listen():
            seen += command["command"]
            if "end of test" in command["command"]:
                break
    assert "EVALSHA" in seen
    assert "CANARY" not in seen
    assert "SECRETKEY" not in seen


# --- Rotation of encryption keys -----------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "repeater"),
    [
        ((OLD,), (NEW, OLD)),  # A client that has the new key repeats a job of the old key.
        ((NEW, OLD), (OLD,)),  # A client that does not have the new key yet.
        ((NEW, OLD), (NEW,)),  # The old key was removed.
        ((), (NEW,)),  # The job was sent before encryption was configured.
    ],
    ids=["new client", "old client", "old key removed", "encryption is new"],
)
def test_clients_with_a_common_key_understand_each_other(
    open_client: OpenClient, path: str, sender: tuple[str, ...], repeater: tuple[str, ...]
) -> None:
    first = open_client(*sender, path=path).submit(TEXT, key="key")
    client = open_client(*repeater, path=path)
    assert client.submit(TEXT, key="key").id == first.id
    with pytest.raises(errors.KeyConflict):
        client.submit(OTHER, key="key")


@pytest.mark.parametrize("repeater", [(LOST,), ()], ids=["another key", "no key"])
def test_a_client_without_a_common_key_is_refused(
    open_client: OpenClient, repeater: tuple[str, ...]
) -> None:
    open_client(NEW).submit(TEXT, key="key")
    with pytest.raises(errors.KeyConflict):
        open_client(*repeater).submit(TEXT, key="key")


def test_digests_do_not_expose_encryption_keys() -> None:
    keyring = load_keyring(Settings.load(encryption_keys=[OLD, NEW]))
    assert keyring is not None
    secrets = [base64.b64decode(key.partition(":")[2]) for key in (OLD, NEW)]
    derived = {*keyring.digests(b""), *keyring.digests(b"data")}
    assert len(derived) == 4
    assert not derived & set(secrets)


def test_a_key_is_free_again_when_its_outcome_has_expired(
    redis_server: RedisProcess, open_client: OpenClient
) -> None:
    client = open_client(result_ttl_s=1)
    client.submit(TEXT, key="key")
    eventually(lambda: not _records(redis_server), what="an expired key")
    client.submit(OTHER, key="key")
    assert _queued(redis_server) == 2
