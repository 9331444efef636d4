"""The pages of the console, as a browser without JavaScript gets them."""

from __future__ import annotations

import json
import re
from typing import Final

import pytest
import redis
from fastapi.testclient import TestClient

from sentq import Client, Settings
from sentq.testing import Kit
from sentq.testing.scores import score_by_rule
from sentq.wire.history.slots import TEXTS_FIELD, add_to_history, jobs_field, seconds_field
from sentq.wire.reports import ReportedBudget, WorkerReport, write_report
from tests.producer.gateway.console.conftest import Browser, OpenBrowser, text_of

PAGES: Final = ("", "/try", "/jobs", "/dead-letters", "/login")

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

MARKUP: Final = "<script>alert(1)</script>"


def _report(server: redis.Redis, **fields: object) -> None:
    now_s = float(server.time()[0])
    base = WorkerReport(
        worker="w@host",
        at_s=now_s,
        started_at_s=now_s - 7200,
        queues=("sentq", "sentq.bulk"),
        model="owner/name",
        backend="local:cpu",
        dtype="float32",
        pace_jobs_per_s=20.0,
    )
    write_report(server, base.model_copy(update=fields), lifetime_s=60)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_a_strict_policy_and_nothing_inline(
    open_browser: OpenBrowser, path: str
) -> None:
    response = open_browser().http.get(f"/console{path}")
    assert response.status_code == 200
    assert response.headers["content-security-policy"] == POLICY
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", response.text)
    assert not re.search(r"""(src|href|action)=["'](https?:)?//""", response.text)
    assert '<main id="main"' in response.text
    assert '<html lang="en">' in response.text
    for asset in re.findall(r'(?:src|href)="(/console/static/[^"]+)"', response.text):
        found = open_browser().http.get(asset)
        assert found.status_code == 200
        assert "immutable" in found.headers["cache-control"]


def test_there_are_no_other_files(open_browser: OpenBrowser) -> None:
    browser = open_browser()
    for name in ("missing.js", "%2e%2e%2fpages.py", "uPlot.LICENSE"):
        assert browser.http.get(f"/console/static/{name}").status_code == 404
    assert browser.http.get("/console/static/console.css").headers["cache-control"] == "no-cache"


def test_the_console_is_not_a_part_of_the_api(open_browser: OpenBrowser) -> None:
    document = open_browser().http.get("/openapi.json").json()
    assert not [path for path in document["paths"] if "console" in path]


# --- Now -------------------------------------------------------------------------------------


def test_queues_are_shown_with_depth_and_drain_time(
    open_browser: OpenBrowser, client: Client, server: redis.Redis
) -> None:
    _report(server)
    for _ in range(100):
        client.submit("text")
    client.submit("text", bulk=True)
    page = text_of(open_browser().load())
    assert "Waiting 101 jobs" in page
    assert "Drained in 5.0 s" in page
    assert re.search(r"sentq 100 \d\S* \S+ 5\.0 s 100 · 0 · 0 · 0", page)
    _report(server, pace_jobs_per_s=1e-6)  # The engine has stood.
    assert "Drained in \N{EN DASH} Pace" in text_of(open_browser().load())


def test_workers_are_shown_with_their_state(open_browser: OpenBrowser, server: redis.Redis) -> None:
    now_s = float(server.time()[0])
    _report(server, worker="busy@host", in_flight_jobs=7)
    _report(server, worker="idle@host", breaker="half_open")
    _report(server, worker="lost@host", at_s=now_s - 11)
    _report(server, worker="waits@host", waiting_for="the Hub is not available")
    page = text_of(open_browser().load())
    assert re.search(r"busy@host sentq, sentq\.bulk busy owner/name", page)
    assert re.search(r"idle@host sentq, sentq\.bulk idle Hub half open", page)
    assert re.search(r"lost@host sentq, sentq\.bulk silent for \d\d s", page)
    assert re.search(r"waits@host .* cannot score the Hub is not available", page)


def test_the_budget_of_the_hub_is_shown_and_sent_as_it_changes(
    open_browser: OpenBrowser, server: redis.Redis
) -> None:
    def report(used: int) -> None:
        budget = ReportedBudget(
            period="day",
            unit="calls",
            used=used,
            limit=1200,
            is_used_up=used == 1200,
            at_s=float(server.time()[0]),
        )
        _report(server, breaker="closed", hub_budget=(budget,))

    browser = open_browser()
    assert "Budget of the Hub" not in browser.load(), "nothing is limited"
    report(900)
    page = text_of(browser.load())
    assert re.search(
        r"Budget of the Hub .* Calls a day within 900 1,200 300 [\d.]+ \w+ \d{4}", page
    )
    assert "is used up" not in page
    with browser.http.stream("GET", "/console/now/events") as response:
        parts = (json.loads(line[6:]) for line in response.iter_lines() if line[:7] == "data: {")
        assert "within" in text_of(next(parts)["budget"])
        report(1200)
        changed = next(parts)
    assert "Calls a day used up 1,200 1,200 0" in text_of(changed["budget"])
    assert "budget of 1,200 calls a day is used up until" in text_of(changed["figures"])


def test_a_service_without_workers_says_so(open_browser: OpenBrowser) -> None:
    page = text_of(open_browser().load())
    assert "No worker reports. Jobs wait until one is started" in page
    assert "No job has ended in the last hour." in page


def test_the_charts_are_drawn_by_the_server_and_sent_as_series(
    open_browser: OpenBrowser, server: redis.Redis
) -> None:
    now_s = float(server.time()[0])
    counts = {
        TEXTS_FIELD: 300,
        jobs_field("done", "sentq"): 150,
        seconds_field(0.1, 0.25, "sentq"): 150,
    }
    for ago_s in (30, 600):
        add_to_history(server, counts, at_s=now_s - ago_s)
    browser = open_browser()
    page = browser.load()
    assert page.count("<polyline") >= 4
    assert "Throughput in the last hour, at most 20.0 a second" in page
    assert "at most 242 ms" in page
    series = browser.http.get("/console/now/history").json()
    assert len(series["at_s"]) == len(series["throughput"]["texts"]) == 239
    assert max(series["throughput"]["jobs"]) == 10
    assert [each for each in series["latency"]["p50"] if each] == [pytest.approx(0.175)] * 2


def test_parts_that_change_are_sent_as_events(
    open_browser: OpenBrowser, client: Client, server: redis.Redis
) -> None:
    _report(server)
    browser = open_browser()
    seen: list[dict[str, str]] = []
    with browser.http.stream("GET", "/console/now/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["content-security-policy"] == POLICY
        for line in response.iter_lines():
            if line.startswith("data: {"):
                seen.append(json.loads(line.removeprefix("data: ")))
                client.submit("text")
            if len(seen) == 2:
                break
    assert set(seen[0]) == {"figures", "queues", "workers", "budget"}
    assert not seen[0]["budget"], "no worker calls the Hub"
    assert "Waiting 0 jobs" in text_of(seen[0]["figures"])
    assert "Waiting 1 jobs" in text_of(seen[1]["figures"])
    assert "workers" not in seen[1] or seen[1]["workers"] != seen[0]["workers"]


# --- Try -------------------------------------------------------------------------------------


@pytest.fixture
def browser(http: TestClient) -> Browser:
    """A browser of a gateway whose jobs are scored at once."""
    return Browser(http)


def test_a_text_is_scored_without_javascript(browser: Browser) -> None:
    page = browser.send("/try", from_page="/try", text="What a lovely day!")
    assert "What a lovely day!</textarea>" in page
    shown = text_of(page)
    assert re.search(r"Sentiment|positive|negative", shown)
    assert re.search(r"Tokens \d+ Windows 1 Waited", shown)
    assert 'role="img" aria-label="Sentiment' in page


def test_a_script_gets_the_result_alone(browser: Browser) -> None:
    part = browser.send("/try", from_page="/try", text="What a lovely day!", part="1")
    assert "<html" not in part
    assert "verdict" in part
    assert "The score appears here." in browser.send("/try", from_page="/try", text="  ", part="1")


def test_sentences_are_shown_with_their_labels(browser: Browser) -> None:
    text = "A good day. A bad <b>night</b>!"
    page = browser.send("/try", from_page="/try", text=text, detail="sentences")
    assert "<option selected>sentences</option>" in page
    assert '<li class="plus"><span>A good day.</span>' in page
    assert '<li class="minus"><span>A bad &lt;b&gt;night&lt;/b&gt;!</span>' in page
    assert re.search(r"2 sentences mixed one clearly praises", text_of(page))
    for detail in ("", "words"):
        page = browser.send("/try", from_page="/try", text=text, detail=detail)
        assert "2 sentences" not in page


def test_markup_in_a_text_stays_text(browser: Browser) -> None:
    page = browser.send("/try", from_page="/try", text=f"</textarea>{MARKUP}")
    assert MARKUP not in page
    assert "&lt;/textarea&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_label_of_a_model_is_escaped(browser: Browser, kit: Kit) -> None:
    kit.scores = lambda _: score_by_rule("good").model_copy(update={"label": MARKUP})
    page = browser.send("/try", from_page="/try", text="text")
    assert MARKUP not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;</p>" in page


def test_a_language_that_the_model_does_not_read_is_named(browser: Browser, kit: Kit) -> None:
    known = {"language": "de", "language_confidence": 0.97, "language_supported": False}
    kit.scores = lambda _: score_by_rule("good").model_copy(update=known)
    page = text_of(browser.send("/try", from_page="/try", text="Schade"))
    assert "Language de, 97" in page
    assert "the model does not read it" in page
    kit.scores = lambda _: score_by_rule("good")
    assert "Language" not in text_of(browser.send("/try", from_page="/try", text="good"))


def test_a_text_that_is_too_long_is_refused_in_words(browser: Browser) -> None:
    page = text_of(browser.send("/try", from_page="/try", text="x" * 1001, part="1"))
    assert "1,001 characters; the limit is 1,000 a text" in page


# --- Jobs ------------------------------------------------------------------------------------


def test_a_job_is_looked_up_and_its_text_is_not_shown(browser: Browser, kit: Kit) -> None:
    job = kit.client().submit(["CANARY", ""])
    page = browser.load(f"/jobs?id={job.id}")
    assert "CANARY" not in page
    assert re.search(r"Job done Id " + job.id, text_of(page))
    assert "error" in text_of(page)
    assert "data-refresh" not in page


def test_a_job_that_waits_is_cancelled(
    open_browser: OpenBrowser, client: Client, settings: Settings
) -> None:
    job = client.submit("text")
    browser = open_browser()
    page = browser.load(f"/jobs?id={job.id}")
    assert "data-refresh" in page
    page = browser.send("/jobs/cancel", from_page=f"/jobs?id={job.id}", id=job.id)
    assert re.search(r"Job cancelled Id " + job.id, text_of(page))
    assert settings.queue in text_of(browser.load())


def test_a_batch_is_shown_with_its_progress(open_browser: OpenBrowser, client: Client) -> None:
    batch = client.batch([["a"], ["b"]])
    page = open_browser().load(f"/jobs?id={batch.id}")
    assert "0 of 2 jobs have ended" in page
    assert re.search(r"Batch (going on|open)", text_of(page))


def test_uploaded_batches_are_listed(open_browser: OpenBrowser) -> None:
    browser = open_browser()
    sent = browser.http.post(
        "/v1/batches", content=b'"a"\n"b"', headers={"Content-Type": "application/jsonl"}
    )
    batch_id = sent.json()["id"]
    assert batch_id in text_of(browser.load("/jobs"))


@pytest.mark.parametrize("id_", ["no-id", MARKUP, "00000000-0000-7000-8000-000000000000"])
def test_an_unknown_id_is_said_to_be_so(open_browser: OpenBrowser, id_: str) -> None:
    response = open_browser().http.get("/console/jobs", params={"id": id_})
    assert response.status_code == 200
    assert MARKUP not in response.text
    assert re.search(r"This is no id|There is no such job", text_of(response.text))
