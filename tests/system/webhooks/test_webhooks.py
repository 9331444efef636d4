"""Webhooks from a real worker to a real receiver, by `sentq webhooks deliver`; the commands; and
the example of a receiver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from standardwebhooks import Webhook

from sentq import Client
from sentq.webhooks import webhook
from tests.support.commands.cli import CliRun
from tests.support.ports import free_port
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.roles.table import users_server
from tests.support.roles.users import as_role
from tests.support.webhooks.deliveries import (
    SECRET,
    DelivererProcess,
    job_message,
    webhook_environment,
)
from tests.support.webhooks.receiver import ReceivedWebhook, ReceiverReply, WebhookReceiver

ROOT: Final = Path(__file__).parents[3]
STANDIN: Final = ("tests.support.workers.standin",)
WAIT_S: Final = 30
LIST: Final = "sentq.webhooks"


@pytest.fixture(scope="module")
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, receiver: WebhookReceiver
) -> Iterator[RedisProcess]:
    """A Redis with its users, a worker with the rules of the presets, and a deliverer."""
    folder = tmp_path_factory.mktemp("service")
    with users_server(folder) as server:
        worker = WorkerProcess(
            folder,
            {
                "SENTQ_BROKER_URL": as_role(server.url, "worker"),
                "SENTQ_WORKER_FOLLOW_QUEUES": "sentq,sentq.bulk,sentq.webhooks",
                "SENTQ_WORKER_FOLLOW_TASKS": "sentq.score,sentq.webhook",
            },
            STANDIN,
        )
        environment = webhook_environment(receiver.origin)
        deliverer = DelivererProcess(folder, as_role(server.url, "webhooks"), environment)
        try:
            worker.wait_until_ready()
            deliverer.wait_until_ready()
            with server.client() as root:
                root.acl_log_reset()
                yield server
                refused = {(each["username"], each["object"]) for each in root.acl_log()}
            assert not [each for each in refused if each[0] == "webhooks"]
        finally:
            codes = deliverer.stop(), worker.stop()
    assert codes == (0, 0), deliverer.log + worker.log


@pytest.fixture
def client(service: RedisProcess) -> Iterator[Client]:
    with Client(broker_url=as_role(service.url, "producer")) as client:
        yield client


def _request(receiver: WebhookReceiver, subject_id: str) -> ReceivedWebhook:
    """Wait for the webhook of a job or a batch."""

    def find() -> ReceivedWebhook | None:
        for each in list(receiver.requests):
            if subject_id in (each.json["data"].get("job_id"), each.json["data"].get("batch_id")):
                return each
        return None

    found = eventually(find, within_s=WAIT_S, what="a webhook")
    assert found is not None
    return found


def _secret(owner: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sentq.cli", "webhooks", "secret", "--owner", owner],
        env=os.environ | {"SENTQ_WEBHOOKS_SECRETS": SECRET},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_job_sends_a_webhook_with_its_outcomes_and_no_text(
    client: Client, receiver: WebhookReceiver
) -> None:
    then = webhook(receiver.url("/scored"), outcomes=True, owner="key-1")
    job = client.submit(["CANARY one", "CANARY two"], then=then)
    request = _request(receiver, job.id)
    body = Webhook(_secret("key-1")).verify(request.body, dict(request.headers))
    assert (request.path, body["type"]) == ("/scored", "job.done")
    assert (body["data"]["texts"], body["data"]["scored"]) == (2, 2)
    outcomes = job.result(timeout=0).model_dump(mode="json")["outcomes"]
    assert body["data"]["outcomes"] == outcomes
    assert b"CANARY" not in request.body


def test_a_batch_sends_one_webhook_with_its_counts(
    client: Client, receiver: WebhookReceiver
) -> None:
    batch = client.batch([f"text {n}" for n in range(30)], then=webhook(receiver.url("/batch")))
    body = _request(receiver, batch.id).json
    assert body["type"] == "batch.complete"
    assert (body["data"]["total"], body["data"]["done"]) == (30, 30)
    time.sleep(1)
    assert sum(each.path == "/batch" for each in receiver.requests) == 1


def test_a_job_with_an_eta_and_one_that_is_too_late_send_theirs(
    service: RedisProcess, client: Client, receiver: WebhookReceiver
) -> None:
    scheduled = client.submit("text", then=webhook(receiver.url()), delay=0.5)
    with service.client() as root:
        # A worker that takes a job within a millisecond scores it.
        root.client_pause(100)
        late = client.submit("late", deadline=0.001, then=webhook(receiver.url()))
    assert _request(receiver, scheduled.id).json["type"] == "job.done"
    assert _request(receiver, late.id).json["data"]["failed"] == 1


@pytest.mark.slow
def test_the_commands_list_and_retry_and_say_what_happened(
    service: RedisProcess, receiver: WebhookReceiver
) -> None:
    run = CliRun(as_role(service.url, "operator"))
    receiver.answer = lambda request: ReceiverReply(410 if request.path == "/secret-path" else 204)
    with service.client() as root:
        root.lpush(LIST, job_message(receiver.url("/secret-path"), "job-of-commands"))
        eventually(lambda: root.zcard("sentq.webhooks.dead"), what="a dead webhook")
        listed = run("webhooks", "list", "--json")
        assert (listed.returncode, "0 waiting, 1 dead" in listed.stderr) == (0, True)
        row = json.loads(listed.stdout)
        assert (row["place"], row["last_status"], row["attempts"]) == ("dead", 410, 1)
        assert (row["subject_id"], row["url"]) == ("job-of-commands", receiver.origin)
        assert "secret-path" not in listed.stdout
        assert "secret-path" in run("webhooks", "list", "--dead", "--show-url").stdout
        assert "job-of-commands" in run.on_a_terminal("webhooks", "list")
        # Its URL is disabled: others are dead at once, and an operator ends that.
        shown = run("webhooks", "disabled", "--show-url", "--json")
        assert json.loads(shown.stdout)["url"] == receiver.url("/secret-path")
        receiver.answer = lambda _: ReceiverReply()
        assert run("webhooks", "retry").returncode == 2
        assert run("webhooks", "retry", "--all").returncode == 2, "no terminal to confirm on"
        assert run("webhooks", "retry", "--all", "--dry-run").returncode == 0
        assert root.zcard("sentq.webhooks.dead") == 1
        retried = run("webhooks", "retry", row["id"])
        assert (retried.returncode, "1 are due now" in retried.stderr) == (0, True)
        assert _request(receiver, "job-of-commands").id == row["id"]
        eventually(lambda: len([i for i in receiver.ids() if i == row["id"]]) == 2)
        eventually(lambda: not root.exists("sentq.webhooks.due", "sentq.webhooks.dead"))
        assert run("webhooks", "retry", row["id"]).returncode == 1
        assert run("webhooks", "enable", receiver.url()).returncode == 1
        root.zadd("sentq.webhooks.disabled", {receiver.url(): time.time() * 1000})
        assert run("webhooks", "enable", receiver.url()).returncode == 0
    assert CliRun("redis://127.0.0.1:1/0")("webhooks", "list").returncode == 3


@pytest.mark.slow
def test_a_deliverer_without_a_secret_does_not_start(service: RedisProcess, tmp_path: Path) -> None:
    deliverer = DelivererProcess(tmp_path, service.url, {})
    assert deliverer.process.wait(30) == 2
    assert "webhooks.secrets" in deliverer.log


@pytest.mark.slow
def test_sigterm_finishes_the_requests_that_are_under_way(
    redis_server: RedisProcess, server: redis.Redis, tmp_path: Path
) -> None:
    with WebhookReceiver(answer=lambda _: ReceiverReply(delay_s=1.5)) as receiver:
        environment = webhook_environment(receiver.origin)
        deliverer = DelivererProcess(tmp_path, redis_server.url_of("webhooks"), environment)
        deliverer.wait_until_ready()
        server.lpush(LIST, job_message(receiver.url()))
        eventually(lambda: receiver.requests, what="a request")
        assert deliverer.stop() == 0, deliverer.log
        assert not server.exists("sentq.webhooks.due")


@pytest.mark.slow
def test_the_example_of_a_receiver_verifies_and_handles_each_webhook_once(
    redis_server: RedisProcess, server: redis.Redis, tmp_path: Path
) -> None:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    environment = os.environ | {"RECEIVER_SECRET": _secret(), "RECEIVER_PORT": str(port)}
    command = [sys.executable, str(ROOT / "examples" / "receive_webhooks.py")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as example:
        deliverer = DelivererProcess(
            tmp_path, redis_server.url_of("webhooks"), webhook_environment(origin)
        )
        try:
            deliverer.wait_until_ready()
            for owner in ("", "another owner's secret"):
                server.lpush(LIST, job_message(f"{origin}/hook", "job-1", owner=owner))
            eventually(lambda: _errors(server) == [b"status 401"], what="a refusal")
            eventually(lambda: server.zcard("sentq.webhooks.due") == 1, what="a delivery")
        finally:
            deliverer.stop()
            example.terminate()
            printed, _ = example.communicate(timeout=10)
    assert printed == "job.failed  0 of 0 texts scored  job-1\n"


def _errors(server: redis.Redis) -> list[Any]:
    return [server.hget(key, "last_error") for key in server.scan_iter("sentq.webhook:*")]
