"""Two gateways beside each other that are killed under load, and clients that send to the other
one: no accepted job is lost or accepted twice, and each has its webhook.

`GATEWAY_JOBS` and `GATEWAY_KILLS` make a longer run.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx2 as httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from sentq import Settings
from sentq.webhooks.settings import WebhookSettings
from sentq.webhooks.signing import load_signer
from tests.support.batch.workers import ReplaceableWorkers
from tests.support.gateway.keys import with_new_key
from tests.support.gateway.process import PROBLEMS, GatewayProcess
from tests.support.processes import RedisProcess, eventually
from tests.support.webhooks.deliveries import SECRET, webhook_environment
from tests.support.webhooks.receiver import ReceivedWebhook, ReceiverReply, WebhookReceiver
from tests.support.workers.standin import has_hash_scores

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]

JOBS: Final = int(os.environ.get("GATEWAY_JOBS", "600"))
KILLS: Final = int(os.environ.get("GATEWAY_KILLS", "5"))

#: How many requests are under way at a time.
THREADS: Final = 8

#: How long a request counts as in progress whose gateway was killed, and a webhook as under way:
#: some 20 s each. A busy machine takes longer.
WITHIN_S: Final = 180


class Gateways:
    """Gateways of one Redis that are killed and replaced."""

    def __init__(self, folder: Path, url: str, receiver: WebhookReceiver) -> None:
        self._folder = folder
        self._url = url
        self._variables = webhook_environment(receiver.origin, timeout_s=2)
        self._stack = ExitStack()
        #: Those that take requests, by their addresses.
        self.running: dict[str, GatewayProcess] = {}

    def start(self) -> None:
        """Start one, and wait until it takes requests."""
        gateway = GatewayProcess(self._folder, self._url, **self._variables)
        self._stack.callback(gateway.kill)
        self.running[gateway.wait_until_ready().url] = gateway

    def kill(self, url: str) -> None:
        """Kill one; its requests and webhooks end at any point."""
        self.running[url].kill()
        del self.running[url]

    def close(self) -> None:
        """Kill those that are left."""
        self._stack.close()


class Clients:
    """Threads that send jobs, and send each again until it is accepted: with the same idempotency
    key, to the other gateway.

    Args:
        gateways: The gateways.
        key: Their key.
        url: Where webhooks are sent.
    """

    def __init__(self, gateways: Gateways, key: str, url: str) -> None:
        self._gateways = gateways
        self._headers = {"Authorization": f"Bearer {key}"}
        self._url = url
        self._waiting = deque((number, 0.0) for number in range(JOBS))
        self._is_stopped = False
        #: How many jobs may be sent now.
        self.permitted = 0
        #: The ids that each job has got, and how often each other response has come.
        self.ids: dict[int, set[str]] = {}
        self.refused: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._send_all) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._is_stopped = True
        for thread in self._threads:
            thread.join()

    def _send_all(self) -> None:
        seed = random.Random(threading.get_ident())
        while not self._is_stopped and len(self.ids) < JOBS:
            try:
                number, not_before_s = self._waiting.popleft()
            except IndexError:
                time.sleep(0.05)
                continue
            if number >= self.permitted or time.monotonic() < not_before_s:
                self._waiting.append((number, not_before_s))
                time.sleep(0.005)
                continue
            pause_s = self._send(number, seed.choice(list(self._gateways.running)))
            if pause_s is not None:
                self._waiting.append((number, time.monotonic() + pause_s))
            elif seed.random() < 0.1:
                # A client whose response was lost sends once more. Nothing is accepted twice.
                self._send(number, seed.choice(list(self._gateways.running)))

    def _send(self, number: int, url: str) -> float | None:
        """Send a job; return how long to wait until it is sent again, None if it was accepted."""
        body = {"texts": f"text {number}", "callback_url": self._url}
        headers = self._headers | {"Idempotency-Key": f"job-{number}"}
        try:
            response = httpx.post(f"{url}/v1/jobs", json=body, headers=headers, timeout=30)
        except httpx.TransportError as error:
            self.refused[type(error).__name__] += 1
            return 0.05
        if response.status_code == httpx.codes.ACCEPTED:
            self.ids.setdefault(number, set()).add(response.json()["id"])
            return None
        kind = str(response.json()["type"]).rpartition(":")[2]
        self.refused[kind] += 1
        assert kind == "request-in-progress", response.text
        return float(response.headers["retry-after"])


class FlakyReceiver(WebhookReceiver):
    """A receiver that is slow now and then, and fails one request in twenty."""

    def __init__(self) -> None:
        super().__init__(answer=self._answer)
        self._seed = random.Random(18)
        #: How often each webhook was accepted, and those without a valid signature.
        self.accepted: Counter[str] = Counter()
        self.unsigned: list[str] = []
        #: The secret of the key that sends the jobs.
        self.secret = ""

    def _answer(self, request: ReceivedWebhook) -> ReceiverReply:
        try:
            Webhook(self.secret).verify(request.body, dict(request.headers))
        except WebhookVerificationError:
            self.unsigned.append(request.id)
        fails = self._seed.random() < 0.05
        self.accepted[request.id] += not fails
        return ReceiverReply(500 if fails else 204, delay_s=self._seed.random() / 10)


@pytest.fixture
def receiver() -> Iterator[FlakyReceiver]:
    with FlakyReceiver() as receiver:
        yield receiver


@pytest.fixture
def gateways(
    own_redis: RedisProcess, tmp_path: Path, receiver: WebhookReceiver
) -> Iterator[Gateways]:
    """Two gateways."""
    found = Gateways(tmp_path, own_redis.url_of("gateway"), receiver)
    yield found
    found.close()


def _reported(receiver: WebhookReceiver) -> Counter[str]:
    return Counter(each.json["data"]["job_id"] for each in list(receiver.requests))


def test_nothing_is_lost_when_gateways_are_killed(
    own_redis: RedisProcess,
    workers: ReplaceableWorkers,
    gateways: Gateways,
    receiver: FlakyReceiver,
) -> None:
    key = with_new_key(Settings.load(broker_url=own_redis.url_of("operator")))
    signer = load_signer(WebhookSettings.load(secrets=[SECRET]))
    (receiver.secret,) = signer.secrets_of(key.record.id)
    workers.start(own_redis.url)
    for _ in range(2):
        gateways.start()
    seed = random.Random(int(os.environ.get("CHAOS_SEED", "18")))
    clients = Clients(gateways, key.key, receiver.url())
    part = JOBS / (KILLS + 1)
    try:
        for kill in range(KILLS):
            clients.permitted = round(part * (kill + 1))
            at = round(part * (kill + seed.random() * 0.8))
            eventually(lambda at=at: len(clients.ids) >= at, within_s=WITHIN_S, what="jobs")  # type: ignore[misc]
            time.sleep(seed.random() / 50)
            gateways.kill(seed.choice(list(gateways.running)))
            gateways.start()
        clients.permitted = JOBS
        eventually(lambda: len(clients.ids) == JOBS, within_s=WITHIN_S, what="all jobs accepted")
    finally:
        clients.stop()
    assert all(len(ids) == 1 for ids in clients.ids.values()), "no job was accepted twice"
    accepted = {job_id: number for number, (job_id,) in clients.ids.items()}
    eventually(
        lambda: accepted.keys() <= _reported(receiver).keys(),
        within_s=WITHIN_S,
        what="all webhooks",
    )
    with own_redis.client() as server:
        eventually(
            lambda: not server.zcard("sentq.webhooks.due"), within_s=WITHIN_S, what="settled"
        )
        assert not server.exists("sentq.webhooks.dead")
    requests = list(receiver.requests)
    reported = _reported(receiver)
    assert reported.keys() == accepted.keys(), "no webhook of a job that no client knows"
    assert not receiver.unsigned
    with next(iter(gateways.running.values())).client(key.key) as http:
        for job_id, number in accepted.items():
            outcome = http.get(f"/v1/jobs/{job_id}").json()["outcome"]
            assert has_hash_scores(outcome, f"text {number}")
    again = sum(receiver.accepted.values()) - JOBS
    print(  # noqa: T201
        f"{JOBS} jobs, {KILLS} kills: {sum(clients.refused.values())} requests sent again "
        f"({dict(clients.refused)}); {again} webhooks came again, {len(requests)} requests"
    )
    assert len({request.id for request in requests}) == JOBS, "the same id each time"
    for gateway in gateways.running.values():
        assert gateway.stop() == 0
        assert not PROBLEMS.search(gateway.log), gateway.log
