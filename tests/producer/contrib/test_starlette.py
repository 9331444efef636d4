"""Starlette: a client for the lifespan, and responses for errors; on a real Redis and a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from sentq import AsyncClient, Prediction, SettingsError, errors
from sentq.contrib.starlette import PROBLEM_HANDLERS, get_client, sentq_lifespan
from tests.support.ports import free_port
from tests.support.processes import RedisProcess
from tests.support.workers.standin import hash_score


async def _score(request: Request) -> JSONResponse:
    job = await get_client(request).submit(await request.json())
    timeout = float(request.query_params.get("timeout", "10"))
    (outcome,) = (await job.result(timeout=timeout)).outcomes
    assert isinstance(outcome, Prediction)
    return JSONResponse({"score": outcome.score})


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        job = await get_client(socket).submit(text)
        outcome = await job.result(timeout=10)
        await socket.send_text(outcome.model_dump_json())


async def _raise_shop_error(request: Request) -> JSONResponse:
    raise LookupError("not an error of sentq")


def _app(**overrides: Any) -> Starlette:
    routes = [
        Route("/score", _score, methods=["POST"]),
        Route("/other", _raise_shop_error),
        WebSocketRoute("/socket", _socket),
    ]
    return Starlette(
        routes=[*routes, Mount("/mounted", routes=routes)],
        lifespan=sentq_lifespan(**overrides),
        exception_handlers=PROBLEM_HANDLERS,
    )


@pytest.mark.slow
def test_requests_and_sockets_share_the_client_of_the_lifespan(scored_redis: RedisProcess) -> None:
    with TestClient(_app(broker_url=scored_redis.url)) as http:
        for path in ("/score", "/mounted/score"):
            assert http.post(path, json="a day").json() == {"score": hash_score("a day")}
        with http.websocket_connect("/socket") as socket:
            socket.send_text("a film")
            (outcome,) = socket.receive_json()["outcomes"]
            assert outcome["score"] == hash_score("a film")


def test_the_client_is_closed_when_the_application_ends(own_redis: RedisProcess) -> None:
    def clients() -> int:
        with own_redis.client() as redis:
            return len(redis.client_list()) - 1

    with TestClient(_app(broker_url=own_redis.url, max_queued_jobs=1)) as http:
        assert http.post("/score", json=["a"] * 257).status_code == 422
        assert http.post("/score?timeout=0.1", json="a day").status_code == 504
        assert clients() > 0
    assert clients() == 0


def test_errors_of_sentq_become_problem_details(redis_server: RedisProcess) -> None:
    with TestClient(_app(broker_url=redis_server.url, max_queued_jobs=1)) as http:
        too_long = http.post("/score", json="x" * 100_001)
        assert too_long.status_code == 422
        assert too_long.headers["content-type"] == "application/problem+json"
        assert too_long.json() == {
            "type": "urn:sentq:problem:text-too-long",
            "title": "A text has too many characters",
            "status": 422,
            "detail": "text 0: 100,001 characters; the limit is 100,000 a text",
        }
        with redis_server.client() as redis:
            redis.lpush("sentq", b"another message")
        full = http.post("/score", json="a day")
        assert (full.status_code, full.headers["retry-after"]) == (503, "10")
        assert full.json()["type"] == "urn:sentq:problem:queue-full"


def test_without_redis_the_response_says_so_and_names_no_host() -> None:
    port = free_port()
    with TestClient(_app(broker_url=f"redis://127.0.0.1:{port}/0")) as http:
        response = http.post("/score", json="a day")
    assert response.status_code == 503
    assert response.json()["type"] == "urn:sentq:problem:broker-unavailable"
    assert str(port) not in response.text


@pytest.mark.parametrize(
    ("text", "setting", "code", "reason"),
    [
        ("x" * 100_001, {}, 1008, "A text has too many characters"),
        ("a day", {"broker_url": "redis://127.0.0.1:1/0"}, 1013, "The broker is not available"),
    ],
    ids=["of the caller", "unavailable"],
)
def test_a_socket_is_closed_with_the_title_of_the_problem(
    text: str, setting: dict[str, str], code: int, reason: str, redis_server: RedisProcess
) -> None:
    app = _app(**({"broker_url": redis_server.url} | setting))
    with TestClient(app) as http, http.websocket_connect("/socket") as socket:
        socket.send_text(text)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert (closed.value.code, closed.value.reason) == (code, reason)


def test_other_errors_are_not_handled(redis_server: RedisProcess) -> None:
    with (
        TestClient(_app(broker_url=redis_server.url)) as http,
        pytest.raises(LookupError, match="not an error of sentq"),
    ):
        http.get("/other")


def test_a_lifespan_of_an_application_includes_that_of_sentq(redis_server: RedisProcess) -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        async with sentq_lifespan(broker_url=redis_server.url)(app) as state:
            yield {**state, "own": "value"}

    async def state(request: Request) -> JSONResponse:
        return JSONResponse([request.state.own, isinstance(get_client(request), AsyncClient)])

    with TestClient(Starlette(routes=[Route("/", state)], lifespan=lifespan)) as http:
        assert http.get("/").json() == ["value", True]


def test_a_wrong_setting_stops_the_application_as_it_starts() -> None:
    with (
        pytest.raises(SettingsError, match="did you mean broker_url"),
        TestClient(_app(broker_ulr="redis://127.0.0.1/0")),
    ):
        pass


def test_without_the_lifespan_the_error_says_what_to_do() -> None:
    app = Starlette(routes=[Route("/score", _score, methods=["POST"])])
    with (
        TestClient(app) as http,
        pytest.raises(RuntimeError, match=r"lifespan=sentq_lifespan\(\)"),
    ):
        http.post("/score", json="a day")


def test_the_handler_is_for_errors_of_sentq_only() -> None:
    assert set(PROBLEM_HANDLERS) == {errors.SentqError}
