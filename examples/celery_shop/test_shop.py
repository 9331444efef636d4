"""Tests of the shop. They need no Redis; with SENTQ_BROKER_URL they use that Redis, and the worker
of sentq there.

    $ pytest

Without Redis, Celery keeps messages and results in memory, and a task with the name of sentq's
stands in for sentq's worker. It scores by the rule of the test kit.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from threading import Timer
from typing import Any

import pytest
from celery.contrib.testing.worker import start_worker

import run
from sentq.testing import score_by_rule
from shop import app, ours, regret

HAS_REDIS = "SENTQ_BROKER_URL" in os.environ


def score_in_memory(texts: list[str]) -> dict[str, Any]:
    """Do what sentq's worker does."""
    if len(texts) > 256:
        raise ValueError("too many texts")
    return {"outcomes": [score_by_rule(text).model_dump(mode="json") for text in texts]}


@pytest.fixture(scope="module", autouse=True)
def _worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run the shop's worker in a thread; without Redis it scores texts too."""
    os.environ["SHOP_DB"] = str(tmp_path_factory.mktemp("shop") / "shop.sqlite3")
    queues = ["shop"]
    if not HAS_REDIS:
        app.conf.update(
            broker_url="memory://",
            broker_transport_options={"polling_interval": 0.01},
            result_backend="cache+memory://",
        )
        app.task(name="sentq.score")(score_in_memory)
        queues.append("sentq")
    with start_worker(app, pool="solo", queues=queues, perform_ping_check=False):
        yield
        if not HAS_REDIS:
            # The worker looks whether to end after a message, and ends after one more. Without
            # messages each of the two takes it two seconds.
            for after_s in (0.1, 0.2):
                Timer(after_s, ours(regret, "the end").apply_async).start()


def test_a_chain_fetches_scores_and_stores_reviews() -> None:
    assert run.run_chain() == "kettle: positive, negative"
    with closing(sqlite3.connect(os.environ["SHOP_DB"])) as db:
        rows = db.execute("SELECT product, labels FROM reviews").fetchall()
    assert rows == [("kettle", "positive, negative")]


def test_a_group_returns_results_in_order() -> None:
    assert run.run_group() == "positive, negative, neutral, positive, negative"


def test_a_thousand_texts_are_scored_in_ten_jobs() -> None:
    labels = {"positive": 400, "negative": 400, "neutral": 200}
    assert run.run_thousand() == f"1000 texts in 10 jobs: {labels}"


def test_a_chord_calls_its_body_once_with_all_results() -> None:
    assert run.run_chord() == "{'positive': 2, 'negative': 2, 'neutral': 1}"


def test_a_callback_receives_the_result_of_a_job() -> None:
    assert run.run_link() == "lamp: neutral, positive, negative"


def test_an_error_callback_receives_the_id_of_a_failed_job() -> None:
    assert run.run_link_error() == "called with the id of the failed job"


def test_a_chain_goes_on_when_a_task_was_tried_again() -> None:
    assert run.run_retry() == "lamp: neutral, positive, negative"
