"""Whatever lies in a queue was put there by somebody who could: by another program's mistake, by a
version of Celery that nobody expected, or on purpose. One piece of it must cost itself only.

All of the corpus goes to one worker at once, with good jobs in between, while Flower and another
monitor listen and the worker says all that it can. Then we look at how each case ended, and for
the canary, which stands in the texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sentq.dev.embedded import find_redis_server
from tests.corpus.canary import traces
from tests.corpus.cases import CorpusCase, ExpectDeadLetter
from tests.corpus.every import CASES
from tests.corpus.trial import Fate, Trial, job_id_of
from tests.support.celery_site import NAME, stock_app
from tests.support.events import Events
from tests.support.flower import Flower, start_flower
from tests.support.processes import RedisProcess, WorkerProcess, eventually, worker_environment

WAIT_S = 60

#: The worker sends all its events, and logs all that it has to say.
_OPEN = ("-E", "-l", "DEBUG")


@dataclass(frozen=True)
class BadInputSite:
    """All that an operator runs, after the corpus has gone through it."""

    server: RedisProcess
    worker: WorkerProcess
    flower: Flower
    events: list[dict[str, Any]]
    fates: dict[str, Fate]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[BadInputSite]:
    with ExitStack() as stack:
        server = RedisProcess(find_redis_server(), tmp_path_factory.mktemp("redis")).start()
        stack.callback(server.stop)
        environment = worker_environment(server.url, tiny_model)
        command = ("celery", "-A", "sentq_worker", "worker", "-P", "solo", "-n", NAME, *_OPEN)
        worker = WorkerProcess(tmp_path_factory.mktemp("worker"), environment, command)
        stack.callback(worker.stop)
        flower = start_flower(tmp_path_factory.mktemp("flower"), environment)
        stack.callback(flower.process.stop)
        client = stack.enter_context(server.client())
        stock = stack.enter_context(stock_app(server.url))
        worker.wait_until_ready()
        events = stack.enter_context(Events(stock))
        eventually(flower.sees_the_worker, within_s=WAIT_S, what="a worker in Flower")
        fates = Trial(client, worker).run([case.raw for case in CASES], within_s=WAIT_S)
        named = dict(zip([case.name for case in CASES], fates, strict=True))
        yield BadInputSite(server, worker, flower, events.all, named)
        assert worker.stop() == 0


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_case_ends_as_expected(site: BadInputSite, case: CorpusCase) -> None:
    assert site.fates[case.name].mismatch(case.ending) is None


def test_a_waiting_client_gets_the_error_of_a_dead_lettered_job(site: BadInputSite) -> None:
    untold = [
        case.name
        for case in CASES
        if isinstance(case.ending, ExpectDeadLetter) and "not a Celery" not in case.ending.reason
        if _says_whose_it_is(case.raw)
        if site.fates[case.name].error is None
    ]
    assert untold == []


def _says_whose_it_is(raw: bytes) -> bool:
    """Whether a worker can tell which job it was without decoding the body."""
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
    tasks = site.flower.ask("/api/tasks?limit=100000")
    assert len(tasks) > len(CASES) / 2
    site.flower.ask("/api/workers?refresh=1")
    for job_id in list(tasks)[:: len(tasks) // 20]:
        assert site.flower.get(f"/task/{job_id}")[0] == 200
        site.flower.get(f"/api/task/result/{job_id}")
    assert traces("".join(site.flower.answers)) == []


def test_inspect_commands_do_not_show_the_canary(site: BadInputSite) -> None:
    with stock_app(site.server.url) as stock:
        inspect = stock.control.inspect(destination=[NAME], timeout=10)
        questions = ("active", "reserved", "scheduled", "revoked", "stats", "report", "conf")
        answers = [getattr(inspect, question)() for question in questions]
    assert all(answers)
    assert traces(repr(answers)) == []


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
    reasons = [letter.reason for fate in site.fates.values() for letter in fate.letters]
    assert traces(repr([keys, values, reasons])) == []
