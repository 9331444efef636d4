"""The metrics of a real worker, against counts that are made without them."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from sentq import Client
from sentq.contract import ErrorCode, Prediction
from sentq.version import VERSION
from tests.support.celery.site import stock_app
from tests.support.missing import redis_program
from tests.support.monitoring.scrape import get, promtool_complaints, scrape
from tests.support.ports import free_port
from tests.support.processes import RedisProcess, StartWorker, eventually

pytestmark = pytest.mark.slow

WORDS = ["good", "bad", "fine", "poor", "great", "awful"]


def _texts(count: int) -> list[str]:
    return [" ".join([WORDS[n % 6]] * (1 + n % 7)) + f" {n}" for n in range(count)]


def test_the_metrics_of_a_worker_are_those_of_its_outcomes(
    redis_server: RedisProcess, client: Client, start_worker: StartWorker, tiny_model: Path
) -> None:
    texts = _texts(300)
    single = [client.submit([text]) for text in texts[:100]]
    bulk = client.submit_many([texts[100:150], texts[150:300]], bulk=True)
    with stock_app(redis_server.url) as stock:  # The client itself refuses such texts.
        task = stock.send_task("sentq.score", args=[["", "CANARY" * 20_000]], queue="sentq")
    refused = client.job(task.id)
    late = client.submit("too late", deadline=0.001)
    cancelled = client.submit("cancelled")
    cancelled.cancel()
    time.sleep(0.05)
    url = f"http://127.0.0.1:{(port := free_port())}"
    worker = start_worker(redis_server.url, SENTQ_WORKER_METRICS_PORT=str(port))
    done = [job.result(timeout=60) for job in (*single, *bulk, refused, late)]
    eventually(lambda: scrape(url).value("sentq_jobs_in_flight") == 0)
    seen = scrape(url)

    jobs = seen.series("sentq_jobs_total")
    assert {key: number for key, number in jobs.items() if number} == {
        ("done", "sentq"): 102,
        ("done", "sentq.bulk"): 2,
    } | {key: number for key, number in jobs.items() if key == ("cancelled", "sentq") and number}
    codes = [row.code for job in done for row in job.outcomes if not isinstance(row, Prediction)]
    scored = sum(isinstance(row, Prediction) for job in done for row in job.outcomes)
    expected = {("", "scored"): scored} | {(code, "error"): codes.count(code) for code in codes}
    texts_seen = seen.series("sentq_texts_total")
    assert {key: n for key, n in texts_seen.items() if n} == expected
    assert len(texts_seen) == 1 + len(ErrorCode), "each code from the start"
    assert len(expected) == 4, "a prediction, and three codes"

    queued_s = {
        "sentq": sum((job.queued_ms or 0) / 1000 for job in (*done[:100], *done[102:])),
        "sentq.bulk": sum((job.queued_ms or 0) / 1000 for job in done[100:102]),
    }
    for queue, total_s in queued_s.items():
        assert seen.value("sentq_job_queue_seconds_sum", queue=queue) == pytest.approx(total_s)
        assert seen.value("sentq_job_seconds_sum", queue=queue) > total_s
    batches_ms = {job.inference_ms for job in done if job.inference_ms}
    assert seen.value("sentq_batch_seconds_count") == len(batches_ms)
    assert seen.value("sentq_batch_seconds_sum") == pytest.approx(sum(batches_ms) / 1000)
    assert seen.value("sentq_batch_texts_sum") == 302
    busy_s = seen.value("sentq_engine_busy_seconds_total")
    assert sum(batches_ms) / 1000 <= busy_s < sum(batches_ms) / 1000 + 1

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert seen.value("sentq_tokens_total", kind="text") == sum(
        len(tokenizer(text)["input_ids"]) for text in texts
    )
    assert seen.value("sentq_tokens_total", kind="padding") >= 0
    info = dict.fromkeys(("model", "revision", "device", "dtype"))
    (labels,) = (dict(key[1]) for key in seen.samples if key[0] == "sentq_worker_info")
    assert set(labels) == {*info, "version"}
    assert labels["version"] == VERSION
    assert labels["model"] == done[0].model

    assert promtool_complaints(seen.text) == ""
    assert "CANARY" not in seen.text
    assert not re.search("[0-9a-f]{8}-[0-9a-f]{4}-7", seen.text), "no job id"
    worker.stop()
    assert get(f"{url}/metrics").status == 0, "the series of a worker end with it"


def test_jobs_of_a_killed_worker_count_as_redeliveries(
    tmp_path: Path, start_worker: StartWorker
) -> None:
    server = RedisProcess(redis_program(), tmp_path).start()
    try:
        with (
            Client(broker_url=server.url) as client,
            Client(broker_url=server.url_of("operator")) as operator,
        ):
            slow = {"SENTQ_VISIBILITY_TIMEOUT_S": "2", "STANDIN_DELAY_S": "30"}
            standin = ("tests.support.workers.standin",)
            first = start_worker(server.url, command=standin, **slow)
            jobs = client.submit_many([["a"], ["b"], ["c"]])
            eventually(lambda: operator.service_status().in_flight_jobs == 3)
            first.process.kill()
            first.process.wait()
            port = free_port()
            quick = slow | {"STANDIN_DELAY_S": "0", "SENTQ_WORKER_METRICS_PORT": str(port)}
            start_worker(server.url, command=standin, **quick)
            for job in jobs:
                assert job.result(timeout=60).attempts == 2
            seen = scrape(f"http://127.0.0.1:{port}")
            assert seen.value("sentq_redeliveries_total", reason="lease_expired") == 3
            assert seen.value("sentq_redeliveries_total", reason="put_back") == 0
    finally:
        server.stop()


def test_a_port_in_use_ends_the_start_in_one_line(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    port = free_port()
    standin = ("tests.support.workers.standin",)
    start_worker(redis_server.url, command=standin, SENTQ_WORKER_METRICS_PORT=str(port))
    second = start_worker(
        redis_server.url, command=standin, wait=False, SENTQ_WORKER_METRICS_PORT=str(port)
    )
    assert eventually(second.process.poll, within_s=60) == 78
    assert f"cannot listen on port {port} of 127.0.0.1: Address already in use" in second.log
    assert "Traceback" not in second.log
