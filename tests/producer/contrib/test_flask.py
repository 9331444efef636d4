"""Flask: an extension with a client for each process, and responses for errors."""

from __future__ import annotations

import pytest
from flask import Flask, request

from sentq import SentqError, SettingsError
from sentq.contrib.flask import Sentq, problem_response
from tests.support.ports import free_port
from tests.support.processes import RedisProcess
from tests.support.workers.standin import has_hash_scores

sentq = Sentq()


def _app(url: str, **config: object) -> Flask:
    app = Flask(__name__)
    app.config.update({"SENTQ_BROKER_URL": url, **config})
    sentq.init_app(app)
    app.register_error_handler(SentqError, problem_response)

    @app.post("/score")
    def score() -> dict[str, object]:
        job = sentq.client.submit(request.get_data(as_text=True))
        return job.result(timeout=10).model_dump(mode="json")

    return app


def test_a_view_scores_with_the_client_of_its_application(scored_redis: RedisProcess) -> None:
    response = _app(scored_redis.url).test_client().post("/score", data="a day")
    assert has_hash_scores(response.get_json(), "a day")


def test_each_application_has_its_own_client(redis_server: RedisProcess) -> None:
    first, second = _app(redis_server.url), _app(redis_server.url, SENTQ_QUEUE="other")
    with first.app_context():
        client = sentq.client
        assert sentq.client is client
    with second.app_context():
        assert sentq.client is not client
        sentq.client.submit("a day")
    with redis_server.client() as redis:
        assert (redis.llen("sentq"), redis.llen("other")) == (0, 1)


def test_an_application_may_be_given_at_once(redis_server: RedisProcess) -> None:
    app = Flask(__name__)
    app.config["SENTQ_BROKER_URL"] = redis_server.url
    extension = Sentq(app)
    with app.app_context():
        assert extension.client.submit("a day").status() == "queued"


def test_errors_of_sentq_become_problem_details() -> None:
    browser = _app(f"redis://127.0.0.1:{free_port()}/0").test_client()
    response = browser.post("/score", data="a day")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "10")
    assert response.mimetype == "application/problem+json"
    document = response.get_json()
    assert document is not None
    assert document["type"] == "urn:sentq:problem:broker-unavailable"
    assert browser.post("/score", data="x" * 100_001).status_code == 422


def test_a_wrong_setting_is_refused_as_the_application_is_made() -> None:
    with pytest.raises(SettingsError, match="did you mean broker_url"):
        _app("redis://h", SENTQ_BROKER_ULR="redis://h")


def test_what_the_application_does_not_set_is_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, redis_server: RedisProcess
) -> None:
    monkeypatch.setenv("SENTQ_QUEUE", "from-environment")
    with _app(redis_server.url).app_context():
        sentq.client.submit("a day")
    with redis_server.client() as redis:
        assert redis.llen("from-environment") == 1


def test_without_init_app_the_error_says_what_to_do() -> None:
    with Flask(__name__).app_context(), pytest.raises(RuntimeError, match="call init_app"):
        _ = sentq.client
