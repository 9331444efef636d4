"""Login, sessions, scopes, and forms that others send."""

from __future__ import annotations

import logging

import pytest
import redis

from sentq import Client, Settings
from tests.producer.gateway.console.conftest import OpenBrowser, OpenBrowserOf, text_of
from tests.support.gateway.keys import with_keys, with_new_key
from tests.support.processes import RedisProcess


def test_a_session_begins_with_a_key_and_ends_with_the_logout(
    open_browser: OpenBrowser, settings: Settings, server: redis.Redis
) -> None:
    made = with_new_key(settings, "ops", "read")
    browser = open_browser()
    assert "Key of the gateway" in browser.load()
    response = browser.http.post("/console/login", data={"key": made.key}, follow_redirects=False)
    cookie = response.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/console"} <= {
        part.strip() for part in cookie.split(";")
    }
    assert "ops" in text_of(browser.load())
    assert not any(
        browser.http.cookies["sentq_console"].encode() in key for key in server.scan_iter()
    )
    # Another gateway knows the session.
    other = open_browser()
    other.http.cookies = browser.http.cookies
    assert "ops" in text_of(other.load())
    token = dict(browser.http.cookies)
    assert "Log in" in browser.send("/logout", from_page="")
    other.http.cookies.update(token)
    assert "Key of the gateway" in other.load()


def test_a_session_ends_as_its_key_is_revoked(
    open_browser: OpenBrowser, settings: Settings
) -> None:
    made = with_new_key(settings, "ops", "read")
    browser = open_browser(made)
    assert "ops" in text_of(browser.load())
    with_keys(settings, lambda store: store.revoke(made.record.id, at_s=1))
    assert "Key of the gateway" in browser.load()


def test_a_cookie_is_for_https_alone_behind_a_proxy_with_tls(
    open_browser: OpenBrowser, settings: Settings
) -> None:
    made = with_new_key(settings, "ops", "read")
    response = open_browser().http.post(
        "/console/login",
        data={"key": made.key},
        headers={"Origin": "https://console.example"},
        follow_redirects=False,
    )
    assert "; secure" in response.headers["set-cookie"].lower()


@pytest.mark.parametrize("key", ["", "wrong", "sentq_0123456789abcdef_" + "a" * 43])
def test_a_wrong_key_begins_no_session(
    open_browser: OpenBrowser, settings: Settings, key: str
) -> None:
    with_new_key(settings, "ops", "read")
    browser = open_browser()
    page = browser.post("/login", {"key": key}, status=403)
    assert "This key is not valid" in page
    assert not browser.http.cookies
    assert "Key of the gateway" in browser.load()


def test_a_key_needs_the_scope_read(open_browser: OpenBrowser, settings: Settings) -> None:
    made = with_new_key(settings, "sender", "submit")
    assert "has not the scope “read”" in open_browser().post(
        "/login", {"key": made.key}, status=403
    )


def test_what_a_key_may_not_do_is_refused(
    open_browser: OpenBrowser, settings: Settings, client: Client
) -> None:
    browser = open_browser(with_new_key(settings, "reader", "read"))
    job = client.submit("text")
    assert "There is no such job" in text_of(browser.load(f"/jobs?id={job.id}"))
    assert "read only" in text_of(browser.load())
    browser.send("/try", from_page="/try", text="text", status=403)
    for path in ("/dead-letters/review", "/dead-letters/act"):
        browser.send(path, from_page="", action="drop", id="1-1", status=403)
    browser.send("/jobs/cancel", from_page="", id=job.id, status=404)
    assert job.status() == "queued"


def test_a_form_of_another_session_or_site_is_refused(
    open_browser: OpenBrowser, settings: Settings
) -> None:
    browser = open_browser(with_new_key(settings, "admin", "admin"))
    for fields in ({}, {"form_token": ""}, {"form_token": "0" * 64}):
        page = browser.post("/dead-letters/act", {**fields, "action": "drop"}, status=403)
        assert "The key may not do this" in page
    browser.http.headers["Sec-Fetch-Site"] = "cross-site"
    browser.send("/logout", from_page="", status=403)
    assert "admin" in text_of(browser.load())


def test_an_open_gateway_refuses_forms_without_its_cookie_and_other_names(
    open_browser: OpenBrowser,
) -> None:
    browser = open_browser()
    assert "open gateway" in browser.load()
    browser.http.cookies.clear()
    browser.post("/try", {"text": "text"}, status=403)
    response = browser.http.get("/console", headers={"Host": "evil.example"})
    assert response.status_code == 421
    assert "Waiting" not in response.text


def test_the_key_is_in_no_log(
    open_browser: OpenBrowser, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = with_new_key(settings, "ops", "read")
    open_browser(made).load()
    assert made.key not in caplog.text
    assert f"audit: log in by {made.record.id}" in caplog.text


def test_an_error_of_redis_is_a_page_that_says_so(
    own_redis: RedisProcess, open_browser_of: OpenBrowserOf
) -> None:
    browser = open_browser_of(Settings.load(broker_url=own_redis.url))
    assert "sentq" in browser.load()
    own_redis.stop()
    page = text_of(browser.load(status=503))
    assert "503 Service Unavailable" in page
