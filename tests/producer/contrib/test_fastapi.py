"""FastAPI: the client as a dependency, and problems in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from sentq import JobOutcome, errors
from sentq.contrib.fastapi import (
    PROBLEM_HANDLERS,
    PROBLEM_RESPONSES,
    SentqClient,
    get_client,
    sentq_lifespan,
)
from tests.support.processes import RedisProcess
from tests.support.workers.standin import has_hash_scores


def _app(**overrides: Any) -> FastAPI:
    app = FastAPI(
        lifespan=sentq_lifespan(**overrides),
        exception_handlers=PROBLEM_HANDLERS,
        responses=PROBLEM_RESPONSES,
    )

    @app.post("/score")
    async def score(texts: list[str], client: SentqClient) -> JobOutcome:
        job = await client.submit(texts)
        return await job.result(timeout=10)

    return app


def test_an_endpoint_receives_the_client(scored_redis: RedisProcess) -> None:
    with TestClient(_app(broker_url=scored_redis.url)) as http:
        response = http.post("/score", json=["a day", "a film"])
        assert response.status_code == 200
        assert has_hash_scores(response.json(), "a day", "a film")


def test_an_invalid_job_is_a_problem_and_an_invalid_body_stays_one_of_fastapi(
    redis_server: RedisProcess,
) -> None:
    with TestClient(_app(broker_url=redis_server.url)) as http:
        empty, wrong = http.post("/score", json=[]), http.post("/score", json={"texts": 1})
    assert (empty.status_code, empty.json()["type"]) == (422, "urn:sentq:problem:empty-job")
    assert (wrong.status_code, wrong.headers["content-type"]) == (422, "application/json")


def test_a_test_overrides_the_client(redis_server: RedisProcess) -> None:
    class RefusingClient:
        """A client whose queue is full."""

        async def submit(self, _texts: object) -> None:
            raise errors.QueueFull("full", retry_after_s=30)

    app = _app(broker_url=redis_server.url)
    app.dependency_overrides[get_client] = RefusingClient
    with TestClient(app) as http:
        response = http.post("/score", json=["a day"])
    assert (response.status_code, response.headers["retry-after"]) == (503, "30")


def test_the_openapi_document_describes_problems() -> None:
    document = _app().openapi()
    responses = document["paths"]["/score"]["post"]["responses"]
    for statuses in ("4XX", "5XX"):
        (media_type,) = responses[statuses]["content"]
        assert media_type == "application/problem+json"
