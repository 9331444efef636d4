"""Keys: who may do what, whose jobs are whose, and how much a key may send."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final, TypeAlias

import pytest
import redis
from fastapi.testclient import TestClient

from sentq import Settings, errors
from sentq.gateway.app import make_gateway
from sentq.gateway.closing import Closing
from sentq.gateway.keys.limits import tokens_of
from sentq.gateway.keys.records import id_in, new_key
from sentq.gateway.keys.store import KEYS_KEY
from sentq.gateway.settings import GatewaySettings
from tests.support.gateway.keys import with_keys, with_new_key
from tests.support.gateway.responses import problem_in

#: Opens a client with a key, of a gateway with these settings.
Open: TypeAlias = Callable[..., TestClient]

EXPIRED: Final = "/v1/jobs/0192f0c1-7d3c-7aaa-8bbb-0123456789ab"


@pytest.fixture
def open_http(settings: Settings) -> Iterator[Open]:
    """Open clients, each with a gateway of its own."""
    with ExitStack() as opened:

        def open_http(key: str | None = None, **own: Any) -> TestClient:
            app = make_gateway(settings, GatewaySettings.load(**own), Closing())
            http = opened.enter_context(TestClient(app, base_url="http://localhost:8200"))
            if key is not None:
                http.headers["Authorization"] = f"Bearer {key}"
            return http

        yield open_http


# --- Keys ------------------------------------------------------------------------------------


def test_a_key_has_256_random_bits_and_only_its_hash_is_kept(
    settings: Settings, server: redis.Redis
) -> None:
    key, record = with_new_key(settings, "shop")
    assert id_in(key) == record.id
    secret = key.removeprefix(f"sentq_{record.id}_")
    assert len(secret) * 6 >= 256
    records: Any = server.hgetall(KEYS_KEY)
    kept = b"".join(records.values())
    assert secret.encode() not in kept
    assert record.digest == hashlib.sha256(key.encode()).hexdigest()
    assert record.is_proven_by(key)
    assert not record.is_proven_by(f"{key[:-1]}{'A' if key[-1] != 'A' else 'B'}")
    assert new_key("shop", record.scopes, created_s=0).key != key


@pytest.mark.parametrize("value", ["", "sentq_", "sentq_0123456789abcdef_short", "x" * 5000])
def test_what_has_not_the_form_of_a_key_has_no_id(value: str) -> None:
    assert id_in(value) is None


def test_names_of_keys_are_taken_once_until_they_are_revoked(settings: Settings) -> None:
    first = with_new_key(settings, "shop").record
    with pytest.raises(errors.InvalidInput, match="revoke it first"):
        with_new_key(settings, "shop")
    with_keys(settings, lambda store: store.revoke("shop", at_s=7))
    second = with_new_key(settings, "shop").record
    listed = with_keys(settings, lambda store: store.all())
    assert {each.id: each.revoked_s for each in listed} == {first.id: 7, second.id: None}
    with pytest.raises(errors.InvalidInput, match="no key"):
        with_keys(settings, lambda store: store.revoke("nothing", at_s=7))


# --- Who may do what -------------------------------------------------------------------------


def test_requests_without_a_valid_key_are_refused(settings: Settings, open_http: Open) -> None:
    key, record = with_new_key(settings)
    revoked = with_new_key(settings, "revoked")
    with_keys(settings, lambda store: store.revoke(revoked.record.id, at_s=1))
    http = open_http()
    assert http.get("/livez").status_code == 200
    wrong = f"sentq_{record.id}_{'A' * 43}"
    unknown = f"sentq_{'0' * 16}_{'A' * 43}"
    for header in (
        *(None, "", "Basic eDp5", "Bearer", f"Token {key}"),
        *(f"Bearer {each}" for each in (wrong, unknown, revoked.key, f"{key} ", "é", key[:-1])),
    ):
        headers = {} if header is None else {b"Authorization": header.encode()}
        response = http.post("/v1/jobs", json={"texts": "x"}, headers=headers)
        if header == f"Bearer {key} ":  # White space at the end belongs to no header.
            assert response.status_code == 202
            continue
        assert problem_in(response) == (401, "unauthorized"), header
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert key not in response.text


def test_a_body_is_not_read_before_the_key_is_checked(settings: Settings, open_http: Open) -> None:
    with_new_key(settings)
    assert problem_in(open_http().post("/v1/jobs", content=b"{")) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("scope", "statuses"),
    [("submit", (202, 403, 403)), ("read", (403, 410, 200)), ("admin", (202, 410, 200))],
)
def test_a_key_may_do_what_its_scopes_say(
    settings: Settings, open_http: Open, scope: str, statuses: tuple[int, ...]
) -> None:
    http = open_http(with_new_key(settings, "key", scope).key)
    responses = (
        http.post("/v1/jobs", json={"texts": "x"}),
        http.get(EXPIRED),
        http.get("/v1/status"),
    )
    assert tuple(each.status_code for each in responses) == statuses


def test_the_status_has_reports_of_workers_for_administrators_only(
    settings: Settings, open_http: Open
) -> None:
    reader = open_http(with_new_key(settings, "reader", "read").key)
    admin = open_http(with_new_key(settings, "admin", "admin").key)
    hidden = {"workers", "dead_letters", "disagreements", "hub_budget"}
    assert hidden <= admin.get("/v1/status").json().keys()
    assert not hidden & reader.get("/v1/status").json().keys()


def test_a_gateway_without_keys_is_open_to_names_of_its_machine(
    settings: Settings, open_http: Open
) -> None:
    http = open_http()
    for host in ("localhost:8200", "127.0.0.1", "[::1]:8200"):
        response = http.post("/v1/jobs", json={"texts": "x"}, headers={"Host": host})
        assert response.status_code == 202
    for host in ("rebound.example.com", "localhost.example.com:8200", "10.0.0.1", "", "[", "a:b:c"):
        response = http.post("/v1/jobs", json={"texts": "x"}, headers={"Host": host})
        assert problem_in(response) == (421, "misdirected-request"), host
    with_new_key(settings)
    response = http.post("/v1/jobs", json={"texts": "x"})
    assert problem_in(response) == (401, "unauthorized")


def test_a_gateway_is_not_open_when_the_last_key_is_revoked_nor_elsewhere_than_on_loopback(
    settings: Settings, open_http: Open
) -> None:
    assert problem_in(open_http(host="0.0.0.0").get("/v1/status")) == (401, "unauthorized")  # noqa: S104
    with_new_key(settings)
    with_keys(settings, lambda store: store.revoke("key", at_s=1))
    assert problem_in(open_http().get("/v1/status")) == (401, "unauthorized")


# --- Whose jobs are whose --------------------------------------------------------------------


def test_a_job_exists_for_the_key_that_sent_it_and_for_administrators(
    settings: Settings, open_http: Open, server: redis.Redis
) -> None:
    owner, other, admin = (
        open_http(with_new_key(settings, name, *scopes).key)
        for name, scopes in (("owner", ()), ("other", ()), ("admin", ("admin",)))
    )
    path = owner.post("/v1/jobs", json={"texts": "x"}).headers["location"]
    for method in ("GET", "DELETE"):
        assert problem_in(other.request(method, path)) == (404, "unknown-job")
    assert owner.get(path).json()["status"] == "queued"
    assert admin.get(path).json()["status"] == "queued"
    assert owner.delete(path).json()["status"] == "cancelled"
    (name,) = server.keys("sentq-gateway-owner-*")
    assert 0 < server.ttl(name) <= 2 * settings.result_ttl_s


def test_a_job_that_was_not_sent_over_http_is_for_administrators(
    settings: Settings, open_http: Open, client: Any
) -> None:
    path = f"/v1/jobs/{client.submit('x').id}"
    assert problem_in(open_http(with_new_key(settings).key).get(path)) == (404, "unknown-job")
    admin = open_http(with_new_key(settings, "admin", "admin").key)
    assert admin.get(path).status_code == 200


# --- How much a key may send -----------------------------------------------------------------


def test_requests_of_a_key_are_counted_across_gateways(settings: Settings, open_http: Open) -> None:
    key = with_new_key(settings, requests_per_minute=5).key
    gateways = open_http(key), open_http(key)
    responses = [gateways[n % 2].get(EXPIRED) for n in range(8)]
    assert [each.status_code for each in responses] == [410] * 5 + [429] * 3
    assert problem_in(responses[-1]) == (429, "rate-limited")
    assert 1 <= int(responses[-1].headers["retry-after"]) <= 12
    assert responses[0].headers["ratelimit-policy"] == '"requests";q=5;w=60'
    assert responses[0].headers["ratelimit"].startswith('"requests";r=4;t=')


def test_texts_of_a_key_are_counted_by_their_size(settings: Settings, open_http: Open) -> None:
    http = open_http(with_new_key(settings, texts_per_minute=10).key)
    assert http.post("/v1/jobs", json={"texts": ["x"] * 4}).status_code == 202
    assert http.post("/v1/jobs", json={"texts": "x" * 4001}).status_code == 202
    response = http.post("/v1/jobs", json={"texts": ["x", "x"]})
    assert problem_in(response) == (429, "rate-limited")
    assert response.headers["ratelimit-policy"] == '"texts";q=10;w=60'
    # What was refused was not counted.
    assert http.post("/v1/jobs", json={"texts": "x"}).status_code == 202


def test_a_text_counts_once_for_each_thousand_characters_that_it_has_begun() -> None:
    assert tokens_of(["", "x", "x" * 1000, "x" * 1001]) == 5
