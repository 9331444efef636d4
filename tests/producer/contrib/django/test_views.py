"""Views of both kinds, and the middleware that answers with problem details."""

from __future__ import annotations

import asyncio

import pytest
from django.test import AsyncClient as AsyncBrowser
from django.test import Client as Browser

from tests.producer.contrib.django.conftest import Configure
from tests.support.ports import free_port
from tests.support.processes import RedisProcess, eventually
from tests.support.workers.standin import has_hash_scores

PATHS = ["/score", "/score-async"]


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.usefixtures("scored_project")
def test_views_of_both_kinds_score_under_wsgi(path: str) -> None:
    for text in ("a day", "a film"):
        response = Browser().post(path, text, content_type="text/plain")
        assert has_hash_scores(response.json(), text)


@pytest.mark.slow
@pytest.mark.usefixtures("scored_project")
def test_views_of_both_kinds_score_under_asgi() -> None:
    async def main() -> None:
        browser = AsyncBrowser()
        for path in PATHS:
            texts = [f"text {number} for {path}" for number in range(20)]
            posts = [browser.post(path, text, content_type="text/plain") for text in texts]
            for text, response in zip(texts, await asyncio.gather(*posts), strict=True):
                assert has_hash_scores(response.json(), text)

    asyncio.run(main())


@pytest.mark.slow
def test_asynchronous_views_under_wsgi_leave_no_connections(scored_project: RedisProcess) -> None:
    """Django runs each such view in an event loop of its own."""

    def connections() -> int:
        with scored_project.client() as redis:
            return len(redis.client_list())

    before = connections()
    for number in range(20):
        Browser().post("/score-async", f"text {number}", content_type="text/plain")
    eventually(lambda: connections() <= before + 2, what="connections of ended loops are closed")


@pytest.mark.parametrize("path", PATHS)
def test_the_middleware_answers_with_problem_details(path: str, configure: Configure) -> None:
    port = free_port()
    configure({"BROKER_URL": f"redis://127.0.0.1:{port}/0"})
    response = Browser().post(path, "a day", content_type="text/plain")
    assert (response.status_code, response["Retry-After"]) == (503, "10")
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["type"] == "urn:sentq:problem:broker-unavailable"
    too_long = Browser().post(path, "x" * 100_001, content_type="text/plain")
    assert (too_long.status_code, too_long.has_header("Retry-After")) == (422, False)


def test_other_errors_are_left_to_django() -> None:
    with pytest.raises(LookupError, match="not an error of sentq"):
        Browser().get("/fail")
