"""Encrypted jobs: Redis sees no text, keys rotate, and what cannot be decrypted is not lost."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from celery import chain, signals

from sentq import Client, JobFailed, JobOutcome, Settings
from sentq.cli.dead_letters import write_json
from sentq.contract import SEALED_FIELD, TASK_NAME
from sentq.errors import MessageTooLarge, NotEncrypted, Undecryptable
from sentq.wire.dead_letters import DeadLetter
from sentq.wire.sealing import Keyring, Purpose, load_keyring
from sentq_worker.app import make_worker_app
from sentq_worker.exit_codes import EX_CONFIG
from sentq_worker.settings import WorkerSettings
from tests.corpus.canary import traces
from tests.corpus.expected import CANARY
from tests.support.celery.site import run_site, stock_app
from tests.support.processes import RedisProcess, StartWorker, eventually
from tests.support.workers.gated import scored
from tests.support.workers.standin import has_hash_scores

STANDIN: Final = ("tests.support.workers.standin",)


def _key(name: str) -> str:
    return f"{name}:{base64.b64encode(os.urandom(32)).decode()}"


OLD, NEW = _key("2026-10"), _key("2026-11")


@pytest.fixture
def open_client(redis_server: RedisProcess) -> Iterator[Callable[..., Client]]:
    """Open clients of the test's Redis, with these keys."""
    clients: list[Client] = []

    def open_one(*keys: str, **settings: Any) -> Client:
        client = Client(broker_url=redis_server.url, encryption_keys=list(keys), **settings)
        clients.append(client)
        return client

    yield open_one
    for client in clients:
        client.close()


def _keyring(*keys: str) -> Keyring:
    keyring = load_keyring(Settings.load(encryption_keys=list(keys)))
    assert keyring is not None
    return keyring


def _bodies(server: RedisProcess) -> list[list[Any]]:
    """Return the decoded bodies of the queued messages, the oldest first."""
    with server.client() as client:
        messages = [json.loads(raw) for raw in client.lrange("sentq", 0, -1)[::-1]]
    return [json.loads(base64.b64decode(message["body"])) for message in messages]


def _rewrite(server: RedisProcess, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change the decoded queued messages, as another client of Redis could."""
    with server.client() as client:
        messages = [json.loads(raw) for raw in client.lrange("sentq", 0, -1)[::-1]]
        for message in messages:
            message["body"] = json.loads(base64.b64decode(message["body"]))
        change(messages)
        client.delete("sentq")
        for message in messages:
            body = json.dumps(message["body"]).encode()
            client.lpush("sentq", json.dumps(message | {"body": base64.b64encode(body).decode()}))


def _dead_letters(client: Client) -> list[DeadLetter]:
    return list(client.dead.entries())


def _only_dead_letter(client: Client) -> DeadLetter:
    """Wait for the dead letter of a job: the worker writes it after the job's failure."""
    eventually(lambda: len(_dead_letters(client)) == 1, what="a dead letter")
    return _dead_letters(client)[0]


# --- Messages ------------------------------------------------------------------------------


def test_a_message_holds_the_encrypted_texts_and_shows_their_number(
    redis_server: RedisProcess, open_client: Callable[..., Client]
) -> None:
    texts = ["ümläut 日本 🎉", '"quotes" \\ and\nlines', ""]
    job = open_client(NEW, OLD).submit(texts)
    ((args, kwargs, embed),) = _bodies(redis_server)
    assert args == []
    assert list(kwargs) == [SEALED_FIELD]
    assert kwargs[SEALED_FIELD].startswith("v1.2026-11.")
    assert set(embed.values()) == {None}
    assert _keyring(NEW).open(kwargs[SEALED_FIELD], Purpose.TEXTS, job.id) == texts
    with redis_server.client() as client:
        (raw,) = client.lrange("sentq", 0, -1)
    assert json.loads(raw)["headers"]["argsrepr"] == "<3 texts>"
    named = open_client(NEW).submit(texts, model="large")
    (*_, (_, kwargs, _)) = _bodies(redis_server)
    assert kwargs.pop("model") == "large"
    assert _keyring(NEW).open(kwargs.pop(SEALED_FIELD), Purpose.TEXTS, named.id) == texts
    assert kwargs == {}


def test_a_message_that_celery_publishes_is_encrypted_before_its_signals(
    redis_server: RedisProcess, open_client: Callable[..., Client]
) -> None:
    bodies: list[Any] = []

    def listen(body: Any, **_: Any) -> None:
        bodies.append(body)

    signals.before_task_publish.connect(listen)
    try:
        job = open_client(NEW).submit(CANARY)
    finally:
        signals.before_task_publish.disconnect(listen)
    assert not traces(json.dumps(bodies))
    ((_, kwargs, _),) = _bodies(redis_server)
    assert _keyring(NEW).open(kwargs[SEALED_FIELD], Purpose.TEXTS, job.id) == [CANARY]


def test_a_job_whose_encrypted_form_is_too_large_is_not_sent(
    redis_server: RedisProcess, open_client: Callable[..., Client]
) -> None:
    client = open_client(NEW)
    texts = ["x" * 99_000] * 8
    with pytest.raises(MessageTooLarge, match="786,048"):
        client.submit(texts)
    client.submit(texts[:-1])
    with redis_server.client() as connection:
        (raw,) = connection.lrange("sentq", 0, -1)
    assert len(base64.b64decode(json.loads(raw)["body"])) <= 1024 * 1024


def test_one_key_gives_one_encrypted_job(
    redis_server: RedisProcess, open_client: Callable[..., Client]
) -> None:
    client = open_client(NEW)
    assert client.submit("a", key="order 1").id == client.submit("a", key="order 1").id
    assert len(_bodies(redis_server)) == 1


# --- What Redis sees -----------------------------------------------------------------------


@contextmanager
def _monitored(server: RedisProcess) -> Iterator[list[str]]:
    """Collect what MONITOR shows."""
    lines: list[str] = []
    with server.client() as client, client.monitor() as monitor:

        def collect() -> None:
            for command in monitor.listen():
                lines.append(str(command["command"]))
                if "end-of-monitoring" in lines[-1]:
                    return

        thread = threading.Thread(target=collect)
        thread.start()
        try:
            yield lines
        finally:
            with server.client() as other:
                other.echo("end-of-monitoring")
            thread.join(20)


def _work(server: RedisProcess, client: Client) -> None:
    """Send and score jobs in all ways, one of which is dead-lettered."""
    jobs = client.submit_many([f"{CANARY} {number}" for number in range(300)])
    jobs.append(client.submit([CANARY, CANARY.lower()], key=f"order {CANARY}"[:7], bulk=True))
    assert all(isinstance(each, JobOutcome) for each in client.results(jobs, timeout=60))
    assert len(list(client.map([CANARY] * 200, texts_per_job=20, timeout=60))) == 200


@pytest.mark.parametrize("keys", [(NEW,), ()], ids=["with keys", "without keys"])
def test_redis_sees_no_text_of_encrypted_jobs(
    own_redis: RedisProcess, tmp_path: Path, start_worker: StartWorker, keys: Sequence[str]
) -> None:
    with own_redis.client() as admin:
        admin.config_set("slowlog-log-slower-than", 0)
        admin.config_set("slowlog-max-len", 100_000)
        # Otherwise Redis writes up to two seconds later while it flushes.
        admin.config_set("appendfsync", "always")
    variables = {"SENTQ_ENCRYPTION_KEYS": ",".join(keys)}
    variables["SENTQ_WORKER_ENCRYPT_RESULTS"] = variables["SENTQ_WORKER_REQUIRE_ENCRYPTION"] = (
        "true" if keys else "false"
    )
    worker = start_worker(own_redis.url, command=STANDIN, **variables)
    client = Client(broker_url=own_redis.url, encryption_keys=list(keys))
    with client, _monitored(own_redis) as monitored:
        _work(own_redis, client)
    with own_redis.client() as admin:
        slow = admin.slowlog_get(100_000)
        values = [admin.dump(key) for key in admin.scan_iter()]
    files = [file for file in (tmp_path / "redis").rglob("*") if "aof" in file.name]
    assert files
    seen = {
        "MONITOR": "\n".join(monitored),
        "SLOWLOG": "\n".join(str(entry["command"]) for entry in slow),
        "append-only file": "\n".join(file.read_text("latin-1") for file in files),
        "values": "\n".join(str(value) for value in values),
        "worker's log": worker.log,
    }
    assert all(len(output) > 100 for output in seen.values())
    shown = {place for place, output in seen.items() if traces(output)}
    # Without keys the same search finds the texts, so it would find them.
    assert shown == (set() if keys else {"MONITOR", "SLOWLOG", "append-only file"})


# --- Rotation ------------------------------------------------------------------------------


@pytest.mark.slow
def test_keys_rotate_under_load_without_a_lost_job(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    """Workers learn the new key, then clients use it, then the old one is removed."""
    sent: list[tuple[str, str]] = []
    keys = [[OLD], [OLD], [NEW, OLD], [NEW]]
    stage, stop = [0], threading.Event()

    def send() -> None:
        number = 0
        while not stop.is_set():
            client = Client(broker_url=redis_server.url, encryption_keys=keys[stage[0]])
            with client:
                texts = [f"text {number + index}" for index in range(50)]
                jobs = client.submit_many(texts)
            sent.extend((job.id, text) for job, text in zip(jobs, texts, strict=True))
            number += 50
            time.sleep(0.02)

    def worker(*known: str) -> Any:
        return start_worker(
            redis_server.url, command=STANDIN, SENTQ_ENCRYPTION_KEYS=",".join(known)
        )

    thread = threading.Thread(target=send)
    thread.start()
    try:
        first = worker(OLD)
        second = worker(OLD, NEW)  # A worker that knows both, before any client uses the new one.
        first.stop()
        stage[0] = 2
        eventually(lambda: len(sent) > 500, what="jobs with the new key")
    finally:
        stop.set()
        thread.join(20)
    with Client(broker_url=redis_server.url, encryption_keys=[NEW]) as client:
        old_jobs = [client.job(job_id) for job_id, _ in sent]
        outcomes = list(client.results(old_jobs, timeout=60))  # The queue holds no old key now.
        second.stop()
        worker(NEW)
        assert has_hash_scores(client.submit("last").result(timeout=30), "last")
        assert not _dead_letters(client)
    assert len(outcomes) == len(sent) > 500
    for outcome, (_, text) in zip(outcomes, sent, strict=True):
        assert has_hash_scores(outcome, text), outcome


# --- What cannot be decrypted --------------------------------------------------------------


def _tamper(messages: list[dict[str, Any]]) -> None:
    """Change four of six messages: a bit, the key id, the length, and a swap of two."""
    sealed = [message["body"][1][SEALED_FIELD] for message in messages]
    data = bytearray(base64.b64decode(sealed[0].split(".")[2]))
    data[-1] ^= 1
    sealed[0] = f"v1.2026-11.{base64.b64encode(data).decode()}"
    sealed[1] = sealed[1].replace("2026-11", "2031-01")
    sealed[2] = sealed[2][:-8]
    sealed[3], sealed[4] = sealed[4], sealed[3]
    for message, each in zip(messages, sealed, strict=True):
        message["body"][1][SEALED_FIELD] = each


@pytest.mark.slow
@pytest.mark.parametrize("headers", [{}, {"eta": "2020-01-01T00:00:00"}], ids=["plain", "celery"])
def test_changed_jobs_are_dead_lettered_and_the_worker_goes_on(
    redis_server: RedisProcess,
    open_client: Callable[..., Client],
    start_worker: StartWorker,
    headers: dict[str, str],
) -> None:
    client = open_client(NEW)
    jobs = client.submit_many([f"text {number}" for number in range(6)])

    def change(messages: list[dict[str, Any]]) -> None:
        _tamper(messages)
        for message in messages:
            message["headers"] |= headers

    _rewrite(redis_server, change)
    start_worker(redis_server.url, command=STANDIN, SENTQ_ENCRYPTION_KEYS=NEW)
    *bad, good = client.results(jobs, timeout=60)
    assert has_hash_scores(good, "text 5")
    assert [type(each) for each in bad] == [JobFailed] * 5
    assert {each.code for each in bad if isinstance(each, JobFailed)} == {"Undecryptable"}
    eventually(lambda: len(_dead_letters(client)) == 5, what="five dead letters")
    letters = _dead_letters(client)
    assert {each.code for each in letters} == {"undecryptable"}
    assert {each.job_id for each in letters} == {job.id for job in jobs[:5]}
    reasons = [each.reason for each in letters]
    assert sum("no key in encryption_keys has the id 2031-01" in each for each in reasons) == 1
    assert sum("changed, truncated, or sealed for another job" in each for each in reasons) == 4
    assert has_hash_scores(client.submit("after").result(timeout=30), "after")
    with redis_server.client() as connection:
        assert not connection.hlen("unacked")


@pytest.mark.slow
def test_a_job_is_scored_after_its_key_was_added(
    redis_server: RedisProcess, open_client: Callable[..., Client], start_worker: StartWorker
) -> None:
    client = open_client(NEW)
    job = client.submit(["a text", "another"])
    without = start_worker(redis_server.url, command=STANDIN)
    with pytest.raises(JobFailed, match="this worker has no encryption_keys") as failure:
        job.result(timeout=30)
    assert failure.value.code == "Undecryptable"
    without.stop()
    with_old = start_worker(redis_server.url, command=STANDIN, SENTQ_ENCRYPTION_KEYS=OLD)
    letter = _only_dead_letter(client)
    client.dead.retry(letter)
    with pytest.raises(JobFailed, match="has the id 2026-11"):
        job.result(timeout=30)
    with_old.stop()
    letter = _only_dead_letter(client)
    assert client.dead.texts(letter) == ["a text", "another"]
    client.dead.retry(letter)
    start_worker(redis_server.url, command=STANDIN, SENTQ_ENCRYPTION_KEYS=f"{OLD},{NEW}")
    assert has_hash_scores(job.result(timeout=30), "a text", "another")
    assert not _dead_letters(client)


def test_the_texts_of_a_dead_letter_are_shown_to_those_who_have_the_key(
    redis_server: RedisProcess,
    open_client: Callable[..., Client],
    start_worker: StartWorker,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client, without_keys = open_client(NEW), open_client()
    job = client.submit(CANARY)
    start_worker(redis_server.url, command=STANDIN)
    with pytest.raises(JobFailed):
        job.result(timeout=30)
    with pytest.raises(Undecryptable):
        without_keys.dead.texts(_only_dead_letter(client))
    write_json(client.dead.entries(), texts_of=client.dead.texts)
    assert json.loads(capsys.readouterr().out)["texts"] == [CANARY]
    for texts_of in (None, without_keys.dead.texts):
        write_json(client.dead.entries(), texts_of=texts_of)
        shown = capsys.readouterr().out
        assert not traces(shown)
        assert ("<encrypted: " in shown) is (texts_of is not None)


# --- Required encryption -------------------------------------------------------------------


@pytest.mark.slow
def test_open_texts_of_a_stock_client_are_scored_unless_encryption_is_required(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    worker = start_worker(redis_server.url, command=STANDIN, SENTQ_ENCRYPTION_KEYS=NEW)
    with stock_app(redis_server.url) as stock:
        sent = stock.send_task(TASK_NAME, args=[["open"]], queue="sentq")
        assert has_hash_scores(sent.get(timeout=30), "open")
        worker.stop()
        start_worker(
            redis_server.url,
            command=STANDIN,
            SENTQ_ENCRYPTION_KEYS=NEW,
            SENTQ_WORKER_REQUIRE_ENCRYPTION="true",
        )
        for options in ({"args": [["open"]]}, {"kwargs": {"texts": "open"}}):
            sent = stock.send_task(TASK_NAME, queue="sentq", **options)
            with pytest.raises(NotEncrypted, match="this worker requires it"):
                sent.get(timeout=30)


def test_a_chain_with_open_texts_fails_and_encrypted_jobs_of_a_chain_are_scored(
    tmp_path: Path,
) -> None:
    keyring = _keyring(NEW)
    with run_site(
        tmp_path, SENTQ_ENCRYPTION_KEYS=NEW, SENTQ_WORKER_REQUIRE_ENCRYPTION="true"
    ) as site:
        canvas = chain(site.signature("first"), site.signature("second", immutable=True))
        result = canvas.apply_async()
        with pytest.raises(NotEncrypted):
            result.parent.get(timeout=30)
        sealed = [
            site.stock.signature(
                TASK_NAME,
                kwargs={SEALED_FIELD: keyring.seal([text], Purpose.TEXTS, text)},
                task_id=text,
                queue="sentq",
                immutable=True,
            )
            for text in ("third", "fourth")
        ]
        assert chain(*sealed).apply_async().get(timeout=30)
        assert list(scored(site.redis)) == ["third", "fourth"]
        shown = site.inspect("reserved") + site.inspect("active")
        assert shown == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["require_encryption", "encrypt_results"])
def test_a_worker_does_not_start_without_the_keys_that_a_setting_needs(
    redis_server: RedisProcess, start_worker: StartWorker, name: str
) -> None:
    variables = {f"SENTQ_WORKER_{name.upper()}": "true"}
    worker = start_worker(redis_server.url, command=STANDIN, wait=False, **variables)
    assert worker.process.wait(30) == EX_CONFIG
    assert f"worker.{name} needs encryption_keys" in worker.log
    # Flower and `celery inspect` make the same app, and need no keys.
    make_worker_app(Settings.load(), WorkerSettings.load().model_copy(update={name: True}))


# --- Encrypted results ---------------------------------------------------------------------


def test_encrypted_outcomes_are_read_with_the_key_only(
    redis_server: RedisProcess, open_client: Callable[..., Client], start_worker: StartWorker
) -> None:
    start_worker(
        redis_server.url,
        command=STANDIN,
        SENTQ_ENCRYPTION_KEYS=NEW,
        SENTQ_WORKER_ENCRYPT_RESULTS="true",
    )
    client = open_client(NEW)
    first, second = client.submit_many(["first", "second"])
    assert has_hash_scores(first.result(timeout=30), "first")
    assert first.status() == second.status() == "done"
    with redis_server.client() as connection:
        document = json.loads(connection.get(f"celery-task-meta-{first.id}") or b"")
        assert list(document["result"]) == [SEALED_FIELD]
        assert not first.cancel()
        with pytest.raises(JobFailed, match="this client has no encryption_keys"):
            open_client().job(first.id).result(timeout=5)
        moved = connection.get(f"celery-task-meta-{second.id}") or b""
        connection.set(f"celery-task-meta-{first.id}", moved)
    with pytest.raises(JobFailed, match="sealed for another job") as failure:
        first.result(timeout=5)
    assert failure.value.code == "Undecryptable"
    with stock_app(redis_server.url) as stock:
        args = {"args": [["a text"]], "queue": "sentq"}
        plain, timed = (
            stock.send_task(TASK_NAME, **args),
            stock.send_task(TASK_NAME, countdown=0.1, **args),
        )
        for sent in (plain, timed):
            assert list(sent.get(timeout=30)) == [SEALED_FIELD]
            assert has_hash_scores(client.job(sent.id).result(timeout=5), "a text")


def test_no_redis_error_quotes_a_key(open_client: Callable[..., Client]) -> None:
    client = open_client(NEW)
    assert NEW.split(":")[1] not in repr(client._settings)
    with pytest.raises(redis.ResponseError):
        client._app.backend.client.execute_command("NO-SUCH-COMMAND")
