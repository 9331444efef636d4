"""With `log_format = "json"` every line of a worker's log is an object, and none shows a text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sentq import Client, errors
from tests.corpus.canary import traces
from tests.corpus.cases import CASES
from tests.corpus.expected import CANARY
from tests.corpus.runner import CorpusRunner
from tests.support.celery.site import stock_app
from tests.support.gateway.process import GatewayProcess
from tests.support.processes import RedisProcess, StartWorker, WorkerProcess, eventually
from tests.support.webhooks.deliveries import DelivererProcess, webhook_environment

#: The headers of a message that was sent within a span.
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE_HEADERS = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}


def _lines(worker: WorkerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in worker.log.splitlines()]


def _messages(worker: WorkerProcess) -> list[str]:
    return [line["message"] for line in _lines(worker)]


@pytest.mark.slow
def test_every_line_of_a_worker_is_json_from_its_start_to_its_end(
    own_redis: RedisProcess, start_worker: StartWorker
) -> None:
    options = ("--log-format", "json", "--loglevel", "debug", "--name", "json@%h")
    worker = start_worker(own_redis.url, *options)
    with Client(broker_url=own_redis.url) as client, stock_app(own_redis.url) as stock:
        plain = stock.send_task(
            "sentq.score", args=[[f"{CANARY} one"]], queue="sentq", headers=TRACE_HEADERS
        )
        # Celery ends this one, and logs a line of its own about it.
        of_celery = stock.send_task(
            "sentq.score", args=[[f"{CANARY} two"]], queue="sentq", retries=1
        )
        failed = stock.send_task("sentq.score", args=[CANARY, CANARY], queue="sentq")
        plain.get(timeout=60)
        of_celery.get(timeout=60)
        with pytest.raises(errors.InvalidInput):
            failed.get(timeout=60)
        own_redis.kill()
        eventually(lambda: "Connection to broker lost" in worker.log, what="a lost connection")
        own_redis.start()
        client.submit(f"{CANARY} three").result(timeout=60)
    assert worker.stop() == 0

    lines = _lines(worker)
    assert traces(worker.log) == []
    assert all({"time", "level", "logger", "message", "process"} <= set(line) for line in lines)
    assert {line["worker"] for line in lines if "worker" in line} == {f"json@{_host()}"}
    batches = [line for line in lines if "jobs completed" in line["message"]]
    (batch,) = [line for line in batches if plain.id in line["job_ids"]]
    assert batch["level"] == "debug"
    assert batch["trace_ids"] == [TRACE_ID]
    celerys = [line for line in lines if line.get("job_id") == of_celery.id]
    assert {line["logger"].split(".")[0] for line in celerys} == {"celery"}
    assert any("Warm shutdown" in line["message"] for line in lines)


@pytest.mark.slow
@pytest.mark.long
def test_no_line_shows_a_text_of_bad_messages(
    own_redis: RedisProcess, start_worker: StartWorker
) -> None:
    command = ("celery", "-A", "sentq_worker", "worker", "-P", "solo", "-l", "DEBUG", "-E")
    worker = start_worker(own_redis.url, command=command, SENTQ_LOG_FORMAT="json")
    with own_redis.client() as client:
        CorpusRunner(client, worker).run([case.raw for case in CASES])
    assert worker.stop() == 0
    lines = _lines(worker)
    assert traces(worker.log) == []
    assert any("dead letter" in line["message"] and "job_id" in line for line in lines)


@pytest.mark.slow
def test_errors_of_the_engine_and_of_threads_are_lines_too(
    own_redis: RedisProcess, start_worker: StartWorker
) -> None:
    command = ("tests.support.workers.raising",)
    worker = start_worker(own_redis.url, command=command, SENTQ_LOG_FORMAT="json")
    with Client(broker_url=own_redis.url) as client:
        job = client.submit(f"{CANARY} raise in a thread")
        with pytest.raises(errors.JobFailed):
            job.result(timeout=60)
    eventually(lambda: "not caught" in worker.log, what="the error of a thread")
    worker.stop()
    lines = _lines(worker)
    assert traces(worker.log) == []
    (failed,) = [line for line in lines if "failed: " in line["message"]]
    assert failed["job_ids"] == [job.id]
    (uncaught,) = [line for line in lines if "not caught" in line["message"]]
    assert (uncaught["error"], uncaught["thread"]) == ("RuntimeError", "extra")
    assert "_raise_in_thread" in uncaught["traceback"]


@pytest.mark.slow
def test_a_gateway_logs_lines_of_json_too(own_redis: RedisProcess, tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, own_redis.url, SENTQ_LOG_FORMAT="json").wait_until_ready()
    assert gateway.stop() == 0
    assert any("gateway: " in json.loads(line)["message"] for line in gateway.log.splitlines())


@pytest.mark.slow
def test_a_process_that_delivers_webhooks_logs_lines_of_json_too(
    own_redis: RedisProcess, tmp_path: Path
) -> None:
    variables = webhook_environment("http://127.0.0.1:1") | {"SENTQ_LOG_FORMAT": "json"}
    deliverer = DelivererProcess(tmp_path, own_redis.url, variables).wait_until_ready()
    assert deliverer.stop() == 0
    assert any("delivered" in json.loads(line)["message"] for line in deliverer.log.splitlines())


def test_an_uncaught_error_of_a_program_is_one_line(tmp_path: Path) -> None:
    program = (
        "import logging\n"
        "from sentq.logs import JsonFormatter, log_as_json, log_uncaught_errors\n"
        "log_as_json(JsonFormatter(), level=logging.INFO)\n"
        "log_uncaught_errors()\n"
        "logging.getLogger('a').info('%d', 'no number')\n"
        "import warnings; warnings.warn('old')\n"
        "class Broken:\n"
        "    def __del__(self): raise KeyError('x')\n"
        "Broken()\n"
        "raise LookupError('nothing found')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["info", "warning", "error", "critical"]
    assert [line.get("error") for line in lines] == [None, None, "KeyError", "LookupError"]


def test_ids_that_a_sender_chose_are_cut_and_counted() -> None:
    import logging

    from sentq.logs import JsonFormatter, job_fields

    ids = [f"{n}" * 200 for n in range(9)] * 50
    record = logging.makeLogRecord({"msg": "x", **job_fields(ids, ["t", "t"])})
    line = json.loads(JsonFormatter(worker=lambda: "w").format(record))
    assert (line["jobs"], len(line["job_ids"]), line["trace_ids"]) == (450, 128, ["t"])
    assert max(map(len, line["job_ids"])) == 65


def _host() -> str:
    import socket

    return socket.gethostname()
