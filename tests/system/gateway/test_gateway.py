"""The command `sentq gateway` with uvicorn, Redis and a worker: requests, and the end of it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.commands.cli import CliRun
from tests.support.gateway.process import PROBLEMS, GatewayProcess
from tests.support.processes import RedisProcess, eventually
from tests.support.workers.standin import has_hash_scores
from tests.system.gateway.conftest import StartGateway

pytestmark = pytest.mark.slow

CANARY = "canary-text-of-a-user"


def test_texts_are_scored_over_http_and_are_not_in_the_log(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    texts = [CANARY, "a film"]
    with gateway.client() as http:
        score = http.post("/v1/score", json={"texts": texts})
        assert score.status_code == 200
        assert has_hash_scores(score.json(), *texts)
        sent = http.post("/v1/jobs", json={"texts": texts})
        assert sent.status_code == 202
        job = http.get(sent.headers["location"], headers={"Prefer": "wait=30"}).json()
        assert has_hash_scores(job["outcome"], *texts)
        assert http.get("/v1/status").json()["live_workers"] == 1
        assert http.post("/v1/jobs", json={CANARY: CANARY}).status_code == 422
        assert http.get(f"/{CANARY}?{CANARY}").status_code == 404
    assert gateway.stop() == 0
    assert CANARY not in gateway.log
    assert "POST /v1/score: 200" in gateway.log
    assert not PROBLEMS.search(gateway.log), gateway.log


def _post_later(gateway: GatewayProcess, body: object, found: list[Any]) -> threading.Thread:
    def post() -> None:
        with gateway.client() as http:
            found.append(http.post("/v1/score", json=body, headers={"Prefer": "wait=50"}))

    thread = threading.Thread(target=post)
    thread.start()
    return thread


def test_a_request_that_waits_is_answered_when_the_gateway_ends(
    start_gateway: StartGateway, scored_redis: RedisProcess
) -> None:
    gateway = start_gateway(SENTQ_QUEUE="tests.unread")
    found: list[Any] = []
    thread = _post_later(gateway, {"texts": "x"}, found)
    with scored_redis.client() as redis:
        eventually(lambda: redis.llen("tests.unread"))
    started_s = time.monotonic()
    assert gateway.stop() == 0
    thread.join(10)
    assert time.monotonic() - started_s < 15
    assert found[0].status_code == 202
    assert found[0].headers["location"].startswith("/v1/jobs/")
    assert not PROBLEMS.search(gateway.log), gateway.log


def test_a_port_in_use_and_a_wrong_setting_are_told_in_one_line(
    start_gateway: StartGateway, scored_redis: RedisProcess
) -> None:
    gateway = start_gateway()
    run = CliRun(scored_redis.url_of("gateway"))
    port = gateway.url.rpartition(":")[2]
    for arguments, told in (
        (("--port", port), f"cannot listen on port {port} of 127.0.0.1"),
        (("--host", "no-such-host.invalid"), "no-such-host.invalid"),
    ):
        done = run("gateway", *arguments)
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr


# --- Keys ------------------------------------------------------------------------------------


def test_a_key_is_made_shown_once_listed_and_revoked(
    start_gateway: StartGateway, scored_redis: RedisProcess
) -> None:
    run = CliRun(scored_redis.url_of("operator"))
    outside = ("gateway", "--host", "0.0.0.0", "--port", "0")  # noqa: S104
    refused = CliRun(scored_redis.url_of("gateway"))(*outside)
    assert refused.returncode == 2
    assert "sentq gateway keys create" in refused.stderr
    open_gateway = start_gateway()

    made = run("gateway", "keys", "create", "shop", "--texts-per-minute", "9")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key not in made.stderr
    assert f"sentq webhooks secret --owner {key.split('_')[1]}`" in made.stderr
    gateway = start_gateway("--host", "0.0.0.0")  # noqa: S104
    with gateway.client(key) as http:
        assert http.post("/v1/score", json={"texts": "x"}).status_code == 200
    for each in (gateway, open_gateway):
        with each.client() as http:
            assert http.post("/v1/score", json={"texts": "x"}).status_code == 401

    taken = run("gateway", "keys", "create", "shop")
    assert (taken.returncode, taken.stdout) == (2, "")
    listed = run("gateway", "keys", "list", "--json")
    (shown,) = map(json.loads, listed.stdout.splitlines())
    assert (shown["name"], shown["scopes"]) == ("shop", ["read", "submit"])
    assert (shown["texts_per_minute"], shown["revoked_at"]) == (9, None)
    assert "digest" not in shown
    assert "shop" in run("gateway", "keys", "list").stdout

    assert run("gateway", "keys", "revoke", "shop").returncode == 0
    assert run("gateway", "keys", "revoke", "shop").returncode == 2
    with gateway.client(key) as http:
        assert http.post("/v1/score", json={"texts": "x"}).status_code == 401
    for log in (gateway.log, open_gateway.log):
        assert key not in log
        assert not PROBLEMS.search(log), log


@pytest.mark.usefixtures("no_keys")
def test_a_key_as_json_names_all_of_it(scored_redis: RedisProcess) -> None:
    run = CliRun(scored_redis.url_of("operator"))
    made = run("gateway", "keys", "create", "boss", "--scope", "admin", "--json")
    shown = json.loads(made.stdout)
    assert shown["key"].startswith(f"sentq_{shown['id']}_")
    assert shown["scopes"] == ["admin"]
    assert run("gateway", "keys", "create", "", "--json").returncode == 2
    assert run("gateway", "keys", "revoke", shown["id"]).returncode == 0


def test_a_request_whose_client_has_gone_waits_no_longer(
    start_gateway: StartGateway, scored_redis: RedisProcess
) -> None:
    gateway = start_gateway(SENTQ_QUEUE="tests.unread")
    headers = {"Prefer": "wait=50", "Idempotency-Key": "once"}
    with scored_redis.client() as redis:
        redis.delete("tests.unread")
        with gateway.client(timeout_s=5) as http, pytest.raises(httpx.TimeoutException):
            http.post("/v1/score", json={"texts": "x"}, headers=headers)
        assert redis.llen("tests.unread") == 1

    def repeated() -> bool:
        with gateway.client() as http:
            response = http.post("/v1/jobs", json={"texts": "y"}, headers=headers)
        assert response.status_code in (409, 422), response.text
        return response.status_code == 422

    # The key was used for another request, which has ended.
    eventually(repeated, within_s=10)
    with gateway.client() as http:
        headers["Prefer"] = "respond-async"
        assert http.post("/v1/score", json={"texts": "x"}, headers=headers).status_code == 202
    assert not PROBLEMS.search(gateway.log), gateway.log
