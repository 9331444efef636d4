"""`sentq exporter` and the backlog, against counts that are made without them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentq import Client, Settings
from sentq.connection.app import make_app
from sentq.errors import BrokerUnavailable
from sentq.exporter.pages import make_pages
from sentq.exporter.reading import ServiceReader
from sentq.serving import PageServer
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, dead_letter_fields
from sentq.wire.reports import WorkerReport, write_report
from tests.support.monitoring.scrape import get, promtool_complaints, scrape
from tests.support.ports import free_port
from tests.support.processes import RedisProcess, eventually
from tests.support.roles.users import as_role, functions_program, write_users

LISTS = {0: "sentq", 3: "sentq\x06\x163", 6: "sentq\x06\x166", 9: "sentq\x06\x169"}


@pytest.fixture
def url(redis_server: RedisProcess) -> Iterator[str]:
    """The pages of an exporter."""
    settings = Settings.load(broker_url=redis_server.url_of("operator"))
    server = PageServer("127.0.0.1", 0, make_pages(ServiceReader(make_app(settings), settings)))
    server.start()
    yield server.url
    server.stop()


def _report(server: RedisProcess, worker: str, **about: Any) -> None:
    now_s = time.time()
    report = WorkerReport(
        worker=worker, at_s=now_s, started_at_s=now_s - 60, queues=("sentq", "sentq.bulk"), **about
    )
    with server.client() as redis:
        write_report(redis, report, lifetime_s=60)


def _dead_letter(server: RedisProcess, code: str, message: bytes = b"CANARY") -> bytes:
    fields = dead_letter_fields(code=code, reason="r", message=message)
    with server.client() as redis:
        entry: bytes = redis.execute_command("XADD", DEAD_LETTERS_KEY, "*", *fields)
    return entry


def test_the_exporter_counts_every_list_and_all_that_is_not_in_one(
    redis_server: RedisProcess, client: Client, url: str
) -> None:
    client.submit_many([["CANARY", "CANARY"]] * 40)
    client.submit_many([["CANARY"]] * 7, bulk=True)
    with redis_server.client() as redis:
        for number, (priority, name) in enumerate(LISTS.items(), start=1):
            for _ in range(number * 10 if priority else 0):
                redis.lmove("sentq", name, "RIGHT", "LEFT")
                client.submit(["CANARY", "CANARY"])
        redis.zadd("unacked_index", {f"tag {n}": 1 for n in range(11)})
        now_ms = time.time() * 1000
        redis.zadd("sentq.scheduled", {"soon": now_ms + 1000, "over": now_ms - 1000})
        redis.zadd("sentq.scheduled", {f"later {n}": now_ms + 1e6 for n in range(5)})
        redis.lpush("sentq.webhooks", "CANARY")
        redis.zadd("sentq.webhooks.due", {"1": 1, "2": 2})
        redis.zadd("sentq.webhooks.dead", {"3": 3})
        lengths = {priority: redis.llen(name) for priority, name in LISTS.items()}
    for code in ("malformed", "worker_lost", "malformed", "of a newer worker"):
        _dead_letter(redis_server, code)
    _report(
        redis_server,
        "busy@here",
        in_flight_jobs=11,
        pace_jobs_per_s=10.0,
        busy_share=0.75,
        oldest_sent_at_s=time.time() - 900,
        jobs_finished=100,
        texts_finished=300,
        model="old",
    )
    idle = {"jobs_finished": 100, "texts_finished": 100, "model": "new"}
    _report(redis_server, "idle@here", pace_jobs_per_s=5.5, busy_share=0.125, **idle)
    _report(redis_server, "ill@here", pace_jobs_per_s=99.0, waiting_for="the Hub is away")
    seen = scrape(url)
    assert lengths == {0: 40, 3: 20, 6: 30, 9: 40}
    for priority, length in lengths.items():
        assert seen.value("sentq_queue_jobs", queue="sentq", priority=str(priority)) == length
    assert seen.value("sentq_queue_jobs", queue="sentq.bulk", priority="0") == 7
    assert 0 < seen.value("sentq_queue_oldest_seconds", queue="sentq") < 60
    assert seen.value("sentq_unacked_jobs") == 11
    assert seen.value("sentq_scheduled_jobs") == 7
    assert seen.series("sentq_workers") == {("busy",): 1, ("idle",): 1, ("unavailable",): 1}
    topics = seen.series("sentq_worker_disagreements")
    assert {topic for (topic,), number in topics.items() if number} == {"model"}
    assert {topic for (topic,) in topics} >= {"revision", "labels", "major_version"}
    assert {key: n for key, n in seen.series("sentq_dead_letters").items() if n} == {
        ("malformed",): 2,
        ("worker_lost",): 1,
        ("other",): 1,
    }
    assert seen.series("sentq_webhooks") == {("waiting",): 3, ("dead",): 1}
    assert seen.value("sentq_redis_up") == 1
    assert seen.value("sentq_redis_memory_used_bytes") > 100_000
    assert seen.value("sentq_redis_memory_max_bytes") == 0
    assert promtool_complaints(seen.text) == ""
    assert "CANARY" not in seen.text

    scale = json.loads(get(f"{url}/v1/scale").body)
    assert scale["backlog_jobs"] == 130 + 7 + 11 + 7 == seen.value("sentq_backlog_jobs")
    assert scale["ready_jobs"] == 150 == seen.value("sentq_ready_jobs")
    assert (scale["waiting_jobs"], scale["in_flight_jobs"], scale["scheduled_jobs"]) == (137, 11, 7)
    assert scale["backlog_texts"] == round(155 * 400 / 200) == seen.value("sentq_backlog_texts")
    assert scale["backlog_texts_is_estimate"] is True
    assert scale["pace_jobs_per_s"] == 15.5, "one of the workers cannot score"
    assert (scale["busy_workers"], scale["drain_s"]) == (0.875, pytest.approx(150 / 15.5))
    assert seen.value("sentq_drain_seconds") == pytest.approx(150 / 15.5)
    assert 899 < scale["oldest_s"] < 960, "the oldest job is in flight"
    assert scale["live_workers"] == 3
    status = client.service_status()
    assert status.scale().model_dump().keys() == scale.keys()
    assert (status.backlog_jobs, status.ready_jobs) == (155, 150)


def test_without_workers_the_oldest_messages_tell_the_texts_of_a_job(
    redis_server: RedisProcess, client: Client
) -> None:
    client.submit_many([["a", "b", "c", "d"]] * 10)
    client.submit_many([["a", "b"]] * 10, bulk=True)
    status = client.service_status()
    assert (status.backlog_jobs, status.backlog_texts) == (20, 60)
    assert (status.pace_jobs_per_s, status.drain_s) == (0.0, None)


@pytest.mark.slow
def test_a_scrape_costs_the_same_few_commands_for_any_number_of_jobs(
    redis_server: RedisProcess, client: Client, url: str
) -> None:
    def commands() -> int:
        with redis_server.client() as redis:
            before: Any = redis.info("stats")
            time.sleep(1.1)  # Until the reading is no longer fresh.
            scrape(url)
            after: Any = redis.info("stats")
        return int(after["total_commands_processed"]) - int(before["total_commands_processed"])

    scrape(url)
    few = commands()
    client.submit_many([["text"]] * 3000)
    for _ in range(300):
        _dead_letter(redis_server, "malformed")
    commands()  # Reads the dead letters.
    assert commands() <= few + 3 <= 40


def test_several_scrapes_in_one_second_are_one_reading(
    redis_server: RedisProcess, url: str
) -> None:
    scrape(url)
    with redis_server.client() as redis:
        before: Any = redis.info("stats")
        for _ in range(20):
            assert get(f"{url}/v1/scale").status == 200
        after: Any = redis.info("stats")
    assert after["total_commands_processed"] - before["total_commands_processed"] < 60


def test_without_redis_there_is_one_series_and_the_exporter_lives(own_redis: RedisProcess) -> None:
    settings = Settings.load(broker_url=own_redis.url)
    server = PageServer("127.0.0.1", 0, make_pages(ServiceReader(make_app(settings), settings)))
    server.start()
    try:
        assert scrape(server.url).value("sentq_redis_up") == 1
        own_redis.kill()
        eventually(lambda: scrape(server.url).value("sentq_redis_up") == 0)
        assert scrape(server.url).names == {"sentq_redis_up"}
        answer = get(f"{server.url}/v1/scale")
        assert answer.status == 503
        assert "Redis cannot be used" in json.loads(answer.body)["error"]
        assert get(f"{server.url}/livez").status == 200
        own_redis.start()
        eventually(lambda: scrape(server.url).value("sentq_redis_up") == 1)
        assert get(f"{server.url}/no-such-page").status == 404
    finally:
        server.stop()


def test_dead_letters_are_counted_by_code_however_they_come_and_go(
    redis_server: RedisProcess, client: Client
) -> None:
    settings = Settings.load(broker_url=redis_server.url)
    reader = ServiceReader(make_app(settings), settings)
    codes = reader._codes

    def counted() -> dict[str, int]:
        reader._read_at = float("-inf")
        return {code: number for code, number in reader.read().dead_letters.items() if number}

    assert counted() == {}
    large = b"x" * 60_000
    entries = [_dead_letter(redis_server, "malformed", large) for _ in range(300)]
    assert counted() == {"malformed": 300}, "18 MB take several calls"
    for _ in range(200):
        _dead_letter(redis_server, "worker_lost", large)
    assert counted() == {"malformed": 300, "worker_lost": 200}
    with redis_server.client() as redis:
        redis.execute_command("XDEL", DEAD_LETTERS_KEY, *entries[:150])
    assert sum(counted().values()) == 350, "as many as are read at once, and the rest as unread"
    assert counted() == {"malformed": 150, "worker_lost": 200}
    with redis_server.client() as redis:
        redis.execute_command("XDEL", DEAD_LETTERS_KEY, *entries[150:200])
    for _ in range(50):
        _dead_letter(redis_server, "undecryptable")
    counted()
    found = counted()
    assert found == {"malformed": 100, "worker_lost": 200, "undecryptable": 50}
    assert len(codes._codes) == 350


@pytest.mark.redis
def test_an_operator_may_do_all_that_the_exporter_does(tmp_path: Path) -> None:
    server = RedisProcess(
        functions_program(),
        tmp_path,
        "--aclfile",
        str(write_users(tmp_path, "default on nopass ~* &* +@all")),
    ).start()
    try:
        with Client(broker_url=as_role(server.url, "administrator")) as administrator:
            administrator.load_functions()
        _dead_letter(server, "malformed")
        with server.client() as redis:
            redis.zadd("sentq.scheduled", {"a": 1})
        settings = Settings.load(broker_url=as_role(server.url, "operator"))
        reading = ServiceReader(make_app(settings), settings).read()
        assert reading.dead_letters["malformed"] == 1
        assert reading.memory is not None
        assert reading.status.ready_jobs == 1
        producers = Settings.load(broker_url=as_role(server.url, "producer"))
        with pytest.raises(BrokerUnavailable):
            ServiceReader(make_app(producers), producers).read()
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.process
def test_the_command_serves_until_it_is_told_to_end(redis_server: RedisProcess) -> None:
    port = free_port()
    command = [sys.executable, "-m", "sentq.cli", "exporter", "--port", str(port)]
    environment = os.environ | {"SENTQ_BROKER_URL": redis_server.url_of("operator")}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: get(f"http://127.0.0.1:{port}/livez").status == 200, within_s=60)
        assert scrape(f"http://127.0.0.1:{port}").value("sentq_redis_up") == 1
        second = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode == 2
        assert f"cannot listen on port {port} of 127.0.0.1" in second.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == f"sentq: metrics: http://127.0.0.1:{port}/metrics\n"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("by_option", [True, False])
def test_the_exporter_logs_as_log_format_says(
    redis_server: RedisProcess, *, by_option: bool
) -> None:
    port = free_port()
    option = ["--log-format", "json"] if by_option else []
    variable = {} if by_option else {"SENTQ_LOG_FORMAT": "json"}
    process = subprocess.Popen(
        [sys.executable, "-m", "sentq.cli", "exporter", "--port", str(port), *option],
        env=os.environ | variable | {"SENTQ_BROKER_URL": redis_server.url_of("operator")},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: get(f"http://127.0.0.1:{port}/livez").status == 200, within_s=60)
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    (line,) = map(json.loads, printed.splitlines())
    assert line["message"] == f"metrics: http://127.0.0.1:{port}/metrics"
    assert (line["level"], line["process"]) == ("info", process.pid)
    assert "worker" not in line
