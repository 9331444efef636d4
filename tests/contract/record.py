"""What a client of this version sends, and what a worker of this version stores.

    python -m tests.contract.record tests/contract/recorded/0.1.json

writes a record, with a Redis and workers of its own. `tests/contract/test_recorded.py` lets later
versions read it. The worker is the stand-in, so scores follow from the texts.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import redis

from sentq import Client, Job, __version__
from sentq.wire.dead_letters import DEAD_LETTERS_KEY
from sentq.wire.reports import report_key
from tests.corpus.messages import body_of, message, raw
from tests.support.missing import redis_program
from tests.support.processes import RedisProcess, WorkerProcess, eventually

__all__ = ["KEY", "WORKER", "Record", "record"]

#: The key of encrypted jobs: a test's, no secret.
KEY: Final = "recorded:" + base64.b64encode(bytes(range(32))).decode()

#: The idempotency key of a recorded job.
IDEMPOTENCY_KEY: Final = "order 17"

WORKER: Final = "recorded@host"

_QUEUES: Final = ("sentq", "sentq.bulk")
_LATE_S: Final = 0.001

#: The commit of a record is not in the history: it is made before it is committed.
_COMMIT: Final = re.compile(r'"commit":"[0-9a-f]+"')

#: A record, as JSON has it.
Record = dict[str, Any]


def record(server: RedisProcess, folder: Path) -> Record:
    """Send one job of each kind, let a worker score them, and return what is in Redis.

    Args:
        server: An empty Redis.
        folder: For the log of the worker.
    """
    with (
        Client(broker_url=server.url) as client,
        Client(broker_url=server.url, encryption_keys=[KEY]) as sealing,
    ):
        jobs = dict(_send(client, sealing))
        time.sleep(2 * _LATE_S)
        sent = _sent(server, jobs)
        _send_refused(server)
        done = dict(_score(server, folder, client, jobs))
    return {"version": __version__, "encryption_key": KEY, **sent, **done}


def _send(client: Client, sealing: Client) -> Iterator[tuple[str, Job]]:
    yield "one text", client.submit("What a lovely day! \u2603")
    yield "several texts", client.submit(["one", "", "t" * 300])
    first, second = client.submit_many(["first of two", ["second", "of two"]])
    yield "first of two jobs", first
    yield "second of two jobs", second
    yield "bulk", client.submit("bulk work", bulk=True)
    yield "idempotency key", client.submit("with a key", key=IDEMPOTENCY_KEY)
    yield "deadline that has passed", client.submit("too late", deadline=_LATE_S)
    yield "local only", client.submit("stays here", local_only=True)
    yield "encrypted", sealing.submit(["a secret", "another"])
    yield "encrypted with options", sealing.submit("sealed", bulk=True, local_only=True)


def _sent(server: RedisProcess, jobs: dict[str, Job]) -> Record:
    names = {job.id: name for name, job in jobs.items()}
    messages, keys = [], {}
    with server.client() as connection:
        for queue in _QUEUES:
            for entry in reversed(connection.lrange(queue, 0, -1)):
                job_id = json.loads(entry)["headers"]["id"]
                about = {"name": names[job_id], "job_id": job_id, "queue": queue}
                messages.append(about | {"message": entry.decode()})
        for key in sorted(connection.keys("*")):
            if connection.type(key) == b"string":
                keys[key.decode()] = connection.get(key).decode()
    return {"messages": messages, "keys": keys}


def _send_refused(server: RedisProcess) -> None:
    """Send messages that become dead letters: of an unknown task, and without a readable body."""
    with server.client() as connection:
        connection.lpush(
            "sentq", raw(message(body_of("of another task"), headers={"task": "another.task"}))
        )
        connection.lpush("sentq", raw(message("not JSON")))


def _score(
    server: RedisProcess, folder: Path, client: Client, jobs: dict[str, Job]
) -> Iterator[tuple[str, object]]:
    cancelled = client.submit("cancelled before it is scored")
    cancelled.cancel()
    refused = client._app.send_task("sentq.score", args=[["text"] * 257], queue="sentq")
    with _worker(server, folder, SENTQ_ENCRYPTION_KEYS=KEY):
        for job in jobs.values():
            job.result(timeout=60)
        eventually(lambda: refused.state == "FAILURE", what="a refused job")
        with server.client() as connection:
            eventually(lambda: connection.xlen(DEAD_LETTERS_KEY) == 2, what="dead letters")
            report = eventually(lambda: _report(connection), what="a report")
            dead = connection.xrange(DEAD_LETTERS_KEY)
    named = {name: job.id for name, job in jobs.items()}
    named |= {"cancelled": cancelled.id, "refused": refused.id}
    with _worker(server, folder, SENTQ_ENCRYPTION_KEYS=KEY, SENTQ_WORKER_ENCRYPT_RESULTS="true"):
        job = client.submit("an encrypted outcome")
        named["encrypted outcome"] = job.id
        eventually(lambda: job.status().value == "done", what="an encrypted outcome")
    yield "results", [_result(server, name, job_id) for name, job_id in named.items()]
    yield "reports", [_COMMIT.sub('"commit":"000000000000"', str(report))]
    yield (
        "dead_letters",
        [
            {
                "id": entry_id.decode(),
                "fields": {name.decode(): value.decode() for name, value in fields.items()},
            }
            for entry_id, fields in dead
        ],
    )


@contextmanager
def _worker(server: RedisProcess, folder: Path, **variables: str) -> Iterator[None]:
    environment = {"SENTQ_BROKER_URL": server.url, "SENTQ_WORKER_NAME": WORKER} | variables
    worker = WorkerProcess(folder, environment, ("tests.support.workers.standin",))
    try:
        worker.wait_until_ready()
        yield
    finally:
        worker.stop()


def _report(client: redis.Redis) -> str | None:
    """Return the report of the worker once it reads its queues."""
    found = cast("bytes | None", client.get(report_key(WORKER)))
    return found.decode() if found and json.loads(found)["queues"] else None


def _result(server: RedisProcess, name: str, job_id: str) -> Record:
    with server.client() as connection:
        document = connection.get(f"celery-task-meta-{job_id}")
    assert isinstance(document, bytes)
    return {"name": name, "job_id": job_id, "document": document.decode()}


def main() -> None:
    """Write the record to the file that is named."""
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        server = RedisProcess(redis_program(), Path(name)).start()
        try:
            found = record(server, Path(name))
        finally:
            server.stop()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(found, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
