"""Bad input in a queue affects no other message, and no output shows a text.

Bad messages come from faulty programs, from unexpected versions of Celery, or from attackers. One
worker gets the whole corpus at once, with valid jobs in between. The worker logs all it can and
sends events to Flower and another monitor. The tests then check the result of each case, and
search every output for the canary, which is in the texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.corpus.canary import traces
from tests.corpus.cases import CASES
from tests.corpus.expected import CorpusCase, ExpectDeadLetter
from tests.corpus.runner import CorpusRunner, ObservedResult, job_id_of
from tests.support.celery.events import Events
from tests.support.celery.flower import Flower, start_flower
from tests.support.celery.site import NAME, stock_app
from tests.support.missing import redis_program
from tests.support.processes import RedisProcess, WorkerProcess, eventually, worker_environment

WAIT_S = 60

#: The worker sends all events, and logs at its most detailed level.
_VERBOSE = ("-E", "-l", "DEBUG")


@dataclass(frozen=True)
class BadInputSite:
    """The services that an operator runs, after the worker has processed the corpus."""

    server: RedisProcess
    worker: WorkerProcess
    flower: Flower
    events: list[dict[str, Any]]
    results: dict[str, ObservedResult]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[BadInputSite]:
    with ExitStack() as stack:
        server = RedisProcess(redis_program(), tmp_path_factory.mktemp("redis")).start()
        stack.callback(server.stop)
        environment = worker_environment(server.url, tiny_model)
        command = ("celery", "-A", "sentq_worker", "worker", "-P", "solo", "-n", NAME, *_VERBOSE)
        worker = WorkerProcess(tmp_path_factory.mktemp("worker"), environment, command)
        stack.callback(worker.stop)
        flower = start_flower(tmp_path_factory.mktemp("flower"), environment)
        stack.callback(flower.process.stop)
        client = stack.enter_context(server.client())
        stock = stack.enter_context(stock_app(server.url_of("flower")))
        worker.wait_until_ready()
        events = stack.enter_context(Events(stock))
        eventually(flower.sees_the_worker, within_s=WAIT_S, what="a worker in Flower")
        results = CorpusRunner(client, worker).run([case.raw for case in CASES], within_s=WAIT_S)
        named = dict(zip([case.name for case in CASES], results, strict=True))
        yield BadInputSite(server, worker, flower, events.all, named)
        assert worker.stop() == 0


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_case_ends_as_expected(site: BadInputSite, case: CorpusCase) -> None:
    assert site.results[case.name].mismatch(case.expected) is None


def test_a_waiting_client_gets_the_error_of_a_dead_lettered_job(site: BadInputSite) -> None:
    without_error = [
        case.name
        for case in CASES
        if isinstance(case.expected, ExpectDeadLetter)
        and "not a Celery" not in case.expected.reason
        if _has_readable_id(case.raw)
        if site.results[case.name].error is None
    ]
    assert without_error == []


def _has_readable_id(raw: bytes) -> bool:
    """Whether a worker can read the job id without decoding the body."""
    job_id = job_id_of(raw)
    return (
        job_id is not None
        and job_id.isprintable()
        and job_id == json.loads(raw)["headers"].get("id")
    )


def test_the_worker_runs_on_without_a_restart(site: BadInputSite) -> None:
    assert site.worker.process.poll() is None
    assert site.worker.log.count(" ready.") == 1


def test_no_log_holds_the_canary(site: BadInputSite) -> None:
    assert "DEBUG" in site.worker.log
    assert traces(site.worker.log) == []
    assert traces(site.flower.process.log) == []


def test_no_event_holds_the_canary(site: BadInputSite) -> None:
    assert {"task-received", "task-succeeded", "task-failed"} <= {e["type"] for e in site.events}
    assert traces(repr(site.events)) == []


def test_flower_does_not_show_the_canary(site: BadInputSite) -> None:
    tasks = site.flower.get_json("/api/tasks?limit=100000")
    assert len(tasks) > len(CASES) / 2
    site.flower.get_json("/api/workers?refresh=1")
    for job_id in list(tasks)[:: len(tasks) // 20]:
        # The id of one case is a space.
        path = quote(job_id, safe="")
        assert site.flower.get(f"/task/{path}")[0] == 200
        site.flower.get(f"/api/task/result/{path}")
    assert traces("".join(site.flower.replies)) == []


def test_inspect_commands_do_not_show_the_canary(site: BadInputSite) -> None:
    with stock_app(site.server.url_of("flower")) as stock:
        inspect = stock.control.inspect(destination=[NAME], timeout=10)
        commands = ("active", "reserved", "scheduled", "revoked", "stats", "report", "conf")
        replies = [getattr(inspect, command)() for command in commands]
    assert all(replies)
    assert traces(repr(replies)) == []


def test_no_process_shows_the_canary(site: BadInputSite) -> None:
    proc = Path("/proc")
    if not proc.exists():
        pytest.skip("needs /proc")
    assert site.server.process
    shown = [
        (proc / str(process.pid) / place).read_text(errors="replace")
        for process in (site.server.process, site.worker.process, site.flower.process.process)
        for place in ("cmdline", "environ", "comm", "status")
    ]
    assert all(shown)
    assert traces("".join(shown)) == []


def test_no_stored_outcome_or_dead_letter_reason_holds_the_canary(site: BadInputSite) -> None:
    with site.server.client() as client:
        keys = list(client.scan_iter(count=1000))
        values = [client.get(key) for key in keys if client.type(key) == b"string"]
    assert len(values) > len(CASES) / 2
    dead_letters = [each for result in site.results.values() for each in result.dead_letters]
    reasons = [each.reason for each in dead_letters]
    assert traces(repr([keys, values, reasons])) == []
