"""Dead letters in the console: filter, look, dry run, send again, drop."""

from __future__ import annotations

import logging
from typing import Any, Final

import pytest
import redis

from sentq import Client, Settings
from sentq.gateway.keys.records import NewKey
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, dead_letter_fields
from tests.producer.gateway.console.conftest import OpenBrowser, text_of
from tests.support.gateway.keys import with_new_key

MARKUP: Final = "<script>alert('CANARY')</script>"


@pytest.fixture
def admin(settings: Settings) -> NewKey:
    """A key that may do everything."""
    return with_new_key(settings, "admin", "admin")


def _add(server: redis.Redis, message: bytes = b"m", *, ago_s: int = 60, **more: Any) -> str:
    """Write a dead letter, and return its id."""
    at_ms = (int(server.time()[0]) - ago_s) * 1000
    fields = dead_letter_fields(
        **{"code": "worker_lost", "reason": "three workers were lost", "message": message} | more
    )
    pairs = dict(zip(fields[::2], fields[1::2], strict=True))
    added = server.xadd(DEAD_LETTERS_KEY, pairs, id=f"{at_ms}-*")  # type: ignore[arg-type]
    return added.decode()  # type: ignore[union-attr]


def _of_a_job(server: redis.Redis, client: Client, text: str) -> tuple[str, str]:
    """Turn a job that waits into a dead letter; return the id of the job and of the dead letter."""
    job = client.submit(text)
    message = server.rpop("sentq")
    assert isinstance(message, bytes)
    return job.id, _add(server, message, job_id=job.id, queue="sentq", deliveries=3)


def test_dead_letters_are_filtered_by_cause_and_age(
    open_browser: OpenBrowser, admin: NewKey, server: redis.Redis
) -> None:
    _add(server, ago_s=10_000, job_id="old-lost")
    _add(server, ago_s=60, job_id="new-lost")
    _add(server, ago_s=30, job_id="new-malformed", code="malformed")
    browser = open_browser(admin)
    for query, shown in {
        "": {"old-lost", "new-lost", "new-malformed"},
        "?code=malformed": {"new-malformed"},
        "?age=1h": {"new-lost", "new-malformed"},
        "?code=worker_lost&age=older-1h": {"old-lost"},
        "?code=undecryptable": set(),
    }.items():
        page = browser.load(f"/dead-letters{query}")
        assert {job for job in ("old-lost", "new-lost", "new-malformed") if job in page} == shown
    browser.load("/dead-letters?code=invented", status=422)
    browser.load("/dead-letters?age=invented", status=422)


def test_texts_are_hidden_unless_a_setting_and_the_key_allow_them(
    open_browser: OpenBrowser,
    admin: NewKey,
    settings: Settings,
    server: redis.Redis,
    client: Client,
) -> None:
    job_id, letter_id = _of_a_job(server, client, MARKUP)
    reader = with_new_key(settings, "reader", "read")
    for key, own in ((admin, {}), (reader, {"console_shows_texts": True})):
        browser = open_browser(key, **own)
        for path in ("/dead-letters", f"/dead-letters/{letter_id}"):
            page = browser.load(path)
            assert job_id in page
            assert "CANARY" not in page
        assert "Hidden." in page
    page = open_browser(admin, console_shows_texts=True).load(f"/dead-letters/{letter_id}")
    assert MARKUP not in page
    assert "&lt;script&gt;alert(&#39;CANARY&#39;)&lt;/script&gt;" in page


def test_a_dead_letter_is_sent_again_after_a_dry_run(
    open_browser: OpenBrowser,
    admin: NewKey,
    server: redis.Redis,
    client: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    job_id, letter_id = _of_a_job(server, client, "CANARY")
    truncated = _add(server, b"x" * 70_000, code="malformed", job_id="a-truncated-one")
    browser = open_browser(admin)
    fields: dict[str, Any] = {"action": "retry", "id": [letter_id, truncated]}
    page = text_of(browser.send("/dead-letters/review", from_page="/dead-letters", **fields))
    assert "A dry run: nothing was done yet" in page
    assert "only a part of its message was kept" in page
    assert server.xlen(DEAD_LETTERS_KEY) == 2
    assert server.llen("sentq") == 0
    page = text_of(browser.send("/dead-letters/act", from_page="/dead-letters", **fields))
    assert "1 sent again, 1 kept" in page
    assert server.llen("sentq") == 1
    assert client.job(job_id).status() == "queued"
    assert server.xlen(DEAD_LETTERS_KEY) == 1
    assert f"retry dead letters by {admin.record.id}" in caplog.text
    assert "CANARY" not in caplog.text
    assert b"CANARY" not in b"".join(server.lrange("sentq-gateway-audit", 0, -1))  # type: ignore[arg-type]


def test_dead_letters_are_dropped_after_a_confirmation(
    open_browser: OpenBrowser, admin: NewKey, server: redis.Redis
) -> None:
    dropped, gone, kept = _add(server), _add(server), _add(server)
    browser = open_browser(admin)
    server.xdel(DEAD_LETTERS_KEY, gone)
    fields: dict[str, Any] = {"action": "drop", "id": [dropped, gone]}
    page = text_of(browser.send("/dead-letters/review", from_page="/dead-letters", **fields))
    assert "1 of the selected dead letters is not there any more" in page
    assert "cannot be restored" in page
    page = text_of(browser.send("/dead-letters/act", from_page="/dead-letters", **fields))
    assert "1 dropped" in page
    assert [entry[0].decode() for entry in server.xrange(DEAD_LETTERS_KEY)] == [kept]  # type: ignore[union-attr]


def test_a_form_without_a_selection_does_nothing(
    open_browser: OpenBrowser, admin: NewKey, server: redis.Redis
) -> None:
    letter_id = _add(server)
    browser = open_browser(admin)
    for fields in ({"action": "drop"}, {"action": "x", "id": letter_id}, {"id": letter_id}):
        browser.send("/dead-letters/act", from_page="/dead-letters", status=422, **fields)
    assert server.xlen(DEAD_LETTERS_KEY) == 1


def test_the_audit_log_is_bounded(
    open_browser: OpenBrowser, admin: NewKey, server: redis.Redis
) -> None:
    server.lpush("sentq-gateway-audit", *["no entry"] * 1500)
    page = open_browser(admin).load("/dead-letters")
    assert server.llen("sentq-gateway-audit") == 1000
    assert "log in" in text_of(page)
