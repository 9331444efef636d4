"""Thousands of messages of a hostile sender for one worker, and other senders' jobs beside them.

`GENERATED_INPUTS` is the number of messages; `make faults` sends 10,000.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import pytest
import redis
from celery import Celery

from tests.corpus.generated import INPUTS, SEED, examples
from tests.corpus.hostile import hostile_messages, large_messages
from tests.corpus.messages import body_of, message, raw
from tests.support.celery.site import stock_app
from tests.support.logs import register_log
from tests.support.missing import redis_program
from tests.support.processes import RedisProcess, WorkerProcess, eventually, worker_environment

pytestmark = pytest.mark.attack

#: The number of messages that are sent together.
STEP: Final = 100

#: After how many messages the worker's memory is printed.
SHOWN_EVERY: Final = 1000

#: The words of ordinary jobs that are scored first, one after the other: they make model batches of
#: each size. For each size oneDNN keeps kernels, 70 to 90 MiB for all of them. Growth is counted
#: from then on.
SIZES: Final = range(7, 1121, 7)

#: What a job of another sender may take, on a machine that runs other tests too. It waits behind
#: the messages of a step, which were in the queue before it.
LATENCY_LIMIT_S: Final = 15.0

#: How long the worker's event loop, and its engine, may stand still. The worker itself exits after
#: that time, and the loop must reply to a ping within it.
STALL_LIMIT_S: Final = 5

GROWTH_LIMIT_MIB: Final = 64


@contextmanager
def _beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Let a thread work while the block runs; set its event, and wait for it, at the end."""
    has_ended = threading.Event()
    thread = threading.Thread(target=work, args=(has_ended,))
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


class Pinger:
    """Pings the worker's event loop again and again, and records how long each reply takes."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self.replies_s: list[float] = []

    def ping_all(self, has_ended: threading.Event) -> None:
        """Ping until then, and end with the last reply."""
        while not has_ended.wait(0.1):
            sent_at = time.monotonic()
            # It waits for one reply, and for 30 s at most.
            self._app.control.inspect(timeout=30, limit=1).ping()
            self.replies_s.append(time.monotonic() - sent_at)


class OtherSender:
    """Sends jobs of one text one after the other, and records the latency of each."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self.latencies_s: list[float] = []
        self.failures: list[str] = []

    def send_all(self, has_ended: threading.Event) -> None:
        """Send jobs until then, and end with the last one."""
        while not has_ended.wait(0.02):
            job = message(body_of(f"text {len(self.latencies_s)}"))
            sent_at = time.monotonic()
            self._redis.lpush("sentq", raw(job))
            key = f"celery-task-meta-{job['headers']['id']}"
            while (document := self._result(key)) is None:
                if time.monotonic() > sent_at + 60:
                    self.failures.append("no result within 60 s")
                    return
                time.sleep(0.005)
            if b'"SUCCESS"' not in document:
                self.failures.append(document.decode()[:500])
            self.latencies_s.append(time.monotonic() - sent_at)

    def _result(self, key: str) -> bytes | None:
        document = cast("bytes | None", self._redis.get(key))
        return None if document is None or b'"STARTED"' in document else document


def _memory_mib(worker: WorkerProcess, name: str) -> float:
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def _push(connection: redis.Redis, messages: list[bytes]) -> None:
    with connection.pipeline() as pipe:
        for each in messages:
            pipe.lpush("sentq", each)
        pipe.execute()


def _score_all_sizes(connection: redis.Redis, worker: WorkerProcess) -> None:
    is_scored = _is_taken(connection, worker, others=0)
    for words in SIZES:
        _push(connection, [raw(message(body_of("the " * words)))])
        eventually(is_scored, what="a job is scored")


def _is_taken(connection: redis.Redis, worker: WorkerProcess, *, others: int) -> Callable[[], bool]:
    """Return whether at most so many jobs of the other sender are left. Jobs with an eta are not in
    flight."""

    def check() -> bool:
        assert worker.process.poll() is None, worker.log[-3000:]
        left = connection.llen("sentq") + connection.hlen("unacked")
        return left <= others

    return check


@pytest.mark.timeout(1800)
def test_no_message_ends_or_stalls_a_worker_or_fills_its_memory(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux can reset the peak memory of a process")
    generated = examples(hostile_messages, INPUTS)
    inputs = register_log(tmp_path / f"inputs-of-seed-{SEED}.txt")
    server = RedisProcess(redis_program(), tmp_path, "--appendonly", "no").start()
    limits = {
        "SENTQ_WORKER_LOOP_LIMIT_S": str(STALL_LIMIT_S),
        "SENTQ_WORKER_BATCH_LIMIT_S": str(STALL_LIMIT_S),
    }
    worker = WorkerProcess(tmp_path, worker_environment(server.url, tiny_model) | limits)
    try:
        worker.wait_until_ready()
        with (
            server.client() as client,
            server.client() as other,
            stock_app(server.url_of("flower")) as app,
        ):
            client.set("a string", "no list")
            _score_all_sizes(client, worker)
            taken = _is_taken(client, worker, others=1)
            sender, pinger = OtherSender(other), Pinger(app)
            Path(f"/proc/{worker.process.pid}/clear_refs").write_text("5")
            before_mib, shown_mib = _memory_mib(worker, "VmRSS"), []
            with _beside(sender.send_all), _beside(pinger.ping_all):
                for first in range(0, len(generated), STEP):
                    if first % SHOWN_EVERY == 0:
                        shown_mib.append(_memory_mib(worker, "VmRSS"))
                    step = generated[first : first + STEP]
                    inputs.write_text("\n".join(map(repr, step)))
                    _push(client, step)
                    eventually(taken, within_s=60, what="all messages are taken")
                large_mib = _memory_mib(worker, "VmHWM")
                for each in large_messages():
                    _push(client, [each])
                    eventually(taken, within_s=60, what="a large message is taken")
        growth_mib = _memory_mib(worker, "VmHWM") - before_mib
        longest_s, stall_s = max(sender.latencies_s), max(pinger.replies_s)
        with capsys.disabled():
            sys.stdout.write(
                f"\n{len(generated):,} messages and large ones; {len(sender.latencies_s):,} jobs "
                f"of others, the longest took {longest_s:.2f} s; {len(pinger.replies_s):,} pings, "
                f"the longest reply took {stall_s:.2f} s; peak memory {growth_mib:+.1f} MiB, "
                f"before the large ones {large_mib - before_mib:+.1f} MiB; memory every "
                f"{SHOWN_EVERY:,} messages {' '.join(f'{each:.0f}' for each in shown_mib)} MiB\n"
            )
        assert sender.failures == []
        assert stall_s < STALL_LIMIT_S
        assert longest_s < LATENCY_LIMIT_S
        assert growth_mib < GROWTH_LIMIT_MIB
        assert worker.log.count(" ready.") == 1
        assert worker.stop() == 0
    finally:
        worker.stop()
        server.stop()
