"""A real worker with two models: by name, by language, and what tells of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sentq import Client, JobOutcome, Prediction, TextError
from sentq.cli import app
from sentq.contract import ErrorCode
from tests.support.celery.site import stock_app
from tests.support.models.tiny import make_tiny_model
from tests.support.monitoring.scrape import scrape
from tests.support.ports import free_port
from tests.support.processes import RedisProcess, StartWorker, eventually

pytestmark = pytest.mark.slow

ENGLISH = "It was a good day."
GERMAN = "Das Zimmer war schmutzig und das Frühstück kalt."


def test_a_worker_has_two_models(
    redis_server: RedisProcess, client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    german = make_tiny_model(tmp_path / "german", labels=("schlecht", "gut"), seed=7)
    models = {"german": {"model": str(german), "languages": ["de"]}}
    port = free_port()
    start_worker(
        redis_server.url,
        SENTQ_WORKER_LANGUAGES="en",
        SENTQ_WORKER_ON_OTHER_LANGUAGE="route",
        SENTQ_WORKER_MODELS=json.dumps(models),
        SENTQ_WORKER_METRICS_PORT=str(port),
    )
    with stock_app(redis_server.url) as stock:
        asked = {"model": "german"}
        sent = stock.send_task("sentq.score", args=[[ENGLISH]], kwargs=asked, queue="sentq")
    jobs = {
        "by language": client.submit([ENGLISH, GERMAN]),
        "by name": client.submit([ENGLISH, GERMAN], model="german"),
        "main": client.submit([ENGLISH, GERMAN], model="main"),
        "absent": client.submit([ENGLISH, GERMAN], model="absent"),
        "in a batch": next(client.batch([[ENGLISH]], model="german").jobs()),
        "of a stock client": client.job(sent.id),
        # Celery finishes this one.
        "with an eta": client.submit([ENGLISH], model="german", delay=0.1),
    }
    outcomes = {name: job.result(timeout=60) for name, job in jobs.items()}
    answered = {
        name: [_model_of(outcome, job) for outcome in job.outcomes]
        for name, job in outcomes.items()
    }
    assert answered == {
        "by language": ["tiny", "german"],
        "by name": ["german", "german"],
        "main": ["tiny", "tiny"],
        "absent": ["unknown_model", "unknown_model"],
        "in a batch": ["german"],
        "of a stock client": ["german"],
        "with an eta": ["german"],
    }
    (mapped,) = client.map([ENGLISH], model="german")
    assert isinstance(mapped, Prediction)
    assert mapped.label in {"schlecht", "gut"}

    texts = {("german",): 7, ("main",): 3}
    eventually(lambda: scrape(f"http://127.0.0.1:{port}").value("sentq_jobs_in_flight") == 0)
    assert scrape(f"http://127.0.0.1:{port}").series("sentq_model_texts_total") == texts
    eventually(
        lambda: (
            [
                (model.name, model.model, model.texts_finished)
                for model in client.service_status().workers[0].models
            ]
            == [("main", "tiny", 3), ("german", "german", 7)]
        ),
        within_s=30,
        what="a report of both models",
    )
    shown = CliRunner().invoke(app, ["status", "--broker-url", redis_server.url])
    assert "german = german@sha256:" in shown.output


def _model_of(outcome: Prediction | TextError, job: JobOutcome) -> str:
    """Return the model that scored a text, or the code of its error."""
    if isinstance(outcome, TextError):
        assert "it has main, german" in outcome.message
        assert outcome.code is ErrorCode.UNKNOWN_MODEL
        return str(outcome.code)
    return outcome.model or job.model
