"""The parts of `make check-containers` that need no container."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import yaml

from tests.support.containers import check
from tests.support.containers.jobs import GatewayJobs, NoAnswer
from tests.support.containers.kills import Killer
from tests.support.containers.machine import missing
from tests.support.containers.stack import ComposeStack, service_of
from tests.support.gateway.process import GatewayProcess
from tests.support.processes import RedisProcess

DOCKER = Path(__file__).parents[2] / "docker"
SERVICES: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
TEXTS = ["good", "bad", "some"]


# --- The machine and the stack ---------------------------------------------------------------


def test_what_the_machine_lacks_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda name, **_: None if name == "runc" else name)
    assert "programs of Debian: apt-get install --no-install-recommends runc" in missing()


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stack")
    ComposeStack(folder, {}, workers=2)
    return folder / "docker"


def test_the_stack_runs_the_shipped_files_with_each_secret_that_they_name(copied: Path) -> None:
    for name in ("compose.yaml", "compose.tls.yaml"):
        assert (copied / name).read_bytes() == (DOCKER / name).read_bytes()
        for secret in yaml.safe_load((copied / name).read_text())["secrets"].values():
            assert (copied / secret["file"]).read_text().strip()


def test_only_limits_and_the_number_of_workers_differ_from_the_shipped_files(copied: Path) -> None:
    changes = yaml.safe_load((copied / "override.yaml").read_text())["services"]
    assert changes["worker"].pop("scale") == 2
    assert changes.keys() == SERVICES.keys()
    assert {tuple(each) for each in changes.values()} == {("ulimits",)}


def test_all_services_with_an_image_of_debian_are_started() -> None:
    started = {*check.FIRST, *check.THEN}
    tools = {name for name, each in SERVICES.items() if each.get("profiles") == ["tools"]}
    assert SERVICES.keys() - started - tools == {"alertmanager", "grafana"}
    ports = {
        port.rpartition(":")[0] for name in started for port in SERVICES[name].get("ports", ())
    }
    addresses = {each.removeprefix("http://") for each in (check.GATEWAY, check.PROMETHEUS)}
    assert addresses <= ports


@pytest.mark.parametrize("name", ["sentq-check_worker_2", "sentq-check-worker-2"])
def test_the_name_of_a_container_tells_its_service(name: str) -> None:
    assert service_of(name) == "worker"


# --- Kills -----------------------------------------------------------------------------------


class RecordedKills:
    """Containers that are not there, and which of them were killed."""

    def __init__(self) -> None:
        self.killed: list[str] = []

    def containers(self, service: str) -> list[str]:
        return [f"{service}_1", f"{service}_2"]

    def kill(self, container: str) -> None:
        self.killed.append(container)


def test_kills_are_spread_over_the_jobs_and_follow_from_the_seed() -> None:
    def killed(done: int) -> list[str]:
        stack = RecordedKills()
        killer = Killer(stack, 20, 1000, lambda: done, seed=3)
        killer.start()
        if done == 1000:
            killer.join()
        killer.stop()
        assert killer.killed.total() == len(stack.killed)
        return stack.killed

    everything = killed(1000)
    assert len(everything) == 20
    assert {each.partition("_")[0] for each in everything} == {"worker", "gateway", "redis"}
    assert killed(1000) == everything
    assert killed(0) in ([], everything[:1])


# --- Jobs ------------------------------------------------------------------------------------

Reply = httpx.Response | Exception


class ScriptedGateway:
    """Answers requests as a gateway does whose worker scores a text by its length.

    Attributes:
        replies: Replies that are given first, in place of those.
        lines: How many results a stream has before it breaks off.
        score: Gives another score to a text.
    """

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.lines = 1000
        self.score: Callable[[str], dict[str, Any]] = lambda text: {"score": len(text) / 100}
        self.uploads: dict[str, list[str]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.replies:
            reply = self.replies.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return reply
        path, key = request.url.path, request.headers.get("idempotency-key", "")
        if path == "/v1/score":
            texts = json.loads(request.content)["texts"]
            return httpx.Response(200, json={"outcomes": list(map(self.score, texts))})
        if request.method == "POST":
            lines = [json.loads(line) for line in request.content.splitlines()]
            self.uploads[key] = [each["texts"] if path == "/v1/jobs" else each for each in lines]
            return httpx.Response(202, json={"id": key})
        texts = self.uploads[path.split("/")[3]]
        if path.startswith("/v1/jobs/"):
            outcome = {"outcomes": [self.score(texts[0])]}
            return httpx.Response(200, json={"status": "done", "outcome": outcome})
        if path.endswith("/results"):
            return httpx.Response(
                200, content=self._results(texts, int(request.url.params["first"]))
            )
        return httpx.Response(200, json={"jobs": {"done": len(texts), "remaining": 0}})

    def _results(self, texts: list[str], first: int) -> Iterator[bytes]:
        for index in range(first, min(len(texts), first + self.lines)):
            yield json.dumps({"index": index, **self.score(texts[index])}).encode() + b"\n"
        if first + self.lines < len(texts):
            raise httpx.ReadError("the gateway was killed")


@pytest.fixture
def gateway() -> ScriptedGateway:
    return ScriptedGateway()


@pytest.fixture
def jobs(gateway: ScriptedGateway) -> Iterator[GatewayJobs]:
    transport = httpx.MockTransport(gateway)
    with httpx.Client(base_url="http://gateway", transport=transport) as http:
        yield GatewayJobs(http, TEXTS, patience_s=5)


def test_each_job_is_sent_once_and_counted_once(
    gateway: ScriptedGateway, jobs: GatewayJobs
) -> None:
    jobs.run(30)
    assert (jobs.account.jobs, jobs.account.done, jobs.account.lost) == (30, 30, 0)
    sent = [text for texts in gateway.uploads.values() for text in texts]
    assert sorted(sent) == sorted(TEXTS * 10)


def test_a_request_is_repeated_with_its_key_while_the_gateway_is_away(
    gateway: ScriptedGateway, jobs: GatewayJobs
) -> None:
    gateway.replies = [httpx.ConnectError("refused"), httpx.Response(409), httpx.Response(503)]
    jobs.run(9)
    assert len(gateway.uploads) == 1
    assert jobs.account.done == 9


def test_results_that_break_off_are_read_on(gateway: ScriptedGateway, jobs: GatewayJobs) -> None:
    gateway.lines = 4
    jobs.run(9)
    assert jobs.account.done == 9


def test_an_error_and_an_outcome_of_another_text_are_counted_apart(
    gateway: ScriptedGateway, jobs: GatewayJobs
) -> None:
    gateway.score = lambda text: {"error": {}} if text == "bad" else {"score": 0.04}
    jobs.run(9)
    account = jobs.account
    assert (account.done, account.failed, account.wrong, account.lost) == (6, 3, 0, 0)


def test_a_refusal_ends_the_run(gateway: ScriptedGateway, jobs: GatewayJobs) -> None:
    gateway.replies = [httpx.Response(422, text="too long")]
    with pytest.raises(NoAnswer, match="422: too long"):
        jobs.run(9)
    assert jobs.account.jobs == 0


@pytest.mark.slow
def test_a_real_gateway_is_understood(scored_redis: RedisProcess, tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, scored_redis.url_of("gateway")).wait_until_ready()
    try:
        with gateway.client() as http:
            jobs = GatewayJobs(http, TEXTS)
            jobs.run(1200)
    finally:
        gateway.stop()
    account = jobs.account
    assert (account.jobs, account.done) == (1200, 1200)
    assert len(account.accepted) == 120 + 2, "a tenth alone, the others in uploads"
