"""The console in a browser: each page in light, dark and on a phone, and what people do there.

With `CONSOLE_SCREENSHOTS=folder` a picture of each page is written there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from sentq import Client
from sentq.gateway.keys.store import KEYS_KEY
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, dead_letter_fields
from sentq_worker.testing import LocalHub
from tests.support.browsers.chromium import (
    VIEWS,
    accessibility_problems,
    headless_chromium,
    open_page,
)
from tests.support.gateway.process import PROBLEMS, GatewayProcess
from tests.support.processes import RedisProcess, StartWorker, WorkerProcess, eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

PAGES: Final = {
    "now": "/console",
    "try": "/console/try",
    "jobs": "/console/jobs",
    "dead-letters": "/console/dead-letters",
    "login": "/console/login",
}

MARKUP: Final = "<script>alert('CANARY')</script>"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser."""
    with headless_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def gateway(
    scored_redis: RedisProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway without keys, with jobs, a batch and dead letters behind it."""
    with Client(broker_url=scored_redis.url) as client, scored_redis.client() as redis:
        redis.delete(KEYS_KEY)
        jobs = [client.submit(f"text {n}") for n in range(40)]
        assert [job.result(timeout=60) for job in jobs]
        batch = client.batch([[f"text {n}"] for n in range(50)])
        batch.close()
        _add_dead_letter(redis)
    folder = tmp_path_factory.mktemp("gateway")
    gateway = GatewayProcess(folder, scored_redis.url, SENTQ_GATEWAY_CONSOLE_SHOWS_TEXTS="yes")
    yield gateway.wait_until_ready()
    assert gateway.stop() == 0
    assert not PROBLEMS.search(gateway.log), gateway.log


def _add_dead_letter(redis: object, message: bytes = b"m", **more: object) -> None:
    fields = dead_letter_fields(
        code="worker_lost",
        reason="3 workers were lost while they had it",
        message=message,
        deliveries=3,
        **{"queue": "sentq", **more},  # type: ignore[arg-type]
    )
    redis.execute_command("XADD", DEAD_LETTERS_KEY, "*", *fields)  # type: ignore[attr-defined]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible_and_without_errors(
    chromium: Browser, gateway: GatewayProcess, name: str, view: str
) -> None:
    with open_page(chromium, gateway.url, view) as page:
        page.goto(PAGES[name])
        if name == "now":
            page.get_by_role("status").filter(has_text="Live").wait_for()
            # What a worker reports late is in the next slot of the history, and drawn 45 s later.
            page.locator(".u-wrap").first.wait_for(timeout=60_000)
        assert accessibility_problems(page) == []
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= VIEWS[view][0], "the page scrolls sideways"
        if folder := os.environ.get("CONSOLE_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{name}-{view}.png", full_page=True)


def test_a_text_is_scored_as_it_is_typed(chromium: Browser, gateway: GatewayProcess) -> None:
    with open_page(chromium, gateway.url) as page:
        page.goto("/console/try")
        page.get_by_label("Text", exact=True).press_sequentially("What a lovely day")
        page.get_by_text("Computed").wait_for()
        assert re.search(r"\d %", page.locator("#result .score").inner_text())
        assert accessibility_problems(page) == []
        if folder := os.environ.get("CONSOLE_SCREENSHOTS"):
            for view, (width, height, scheme) in VIEWS.items():
                page.set_viewport_size({"width": width, "height": height})
                page.emulate_media(color_scheme=scheme)
                page.screenshot(path=Path(folder) / f"try-result-{view}.png", full_page=True)


def test_markup_in_a_text_stays_text(chromium: Browser, gateway: GatewayProcess) -> None:
    with open_page(chromium, gateway.url) as page:
        page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        page.goto("/console/try")
        page.get_by_label("Text", exact=True).fill(MARKUP)
        page.get_by_text("Computed").wait_for()
    with open_page(chromium, gateway.url, has_scripts=False) as page:
        page.goto("/console/try")
        page.get_by_label("Text", exact=True).fill(MARKUP)
        page.get_by_role("button", name="Score").click()
        page.get_by_text("Computed").wait_for()
        assert page.get_by_label("Text", exact=True).input_value() == MARKUP


def test_a_dead_letter_is_sent_again(
    chromium: Browser, gateway: GatewayProcess, scored_redis: RedisProcess
) -> None:
    with Client(broker_url=scored_redis.url, queue="tests.aside") as client:
        job = client.submit(MARKUP)
        with scored_redis.client() as redis:
            message = redis.rpop("tests.aside")
            assert isinstance(message, bytes)
            _add_dead_letter(redis, message, job_id=job.id)
        with open_page(chromium, gateway.url) as page:
            page.on("dialog", lambda dialog: pytest.fail(dialog.message))
            page.goto("/console/dead-letters")
            page.get_by_role("link", name=job.id).click()
            assert page.locator(".texts li").inner_text() == MARKUP
            page.get_by_role("button", name="Send again…").click()
            page.get_by_text("nothing was done yet").wait_for()
            assert accessibility_problems(page) == []
            page.get_by_role("button", name="Send again: 1 dead letter").click()
            page.get_by_role("status").filter(has_text="1 sent again").wait_for()
        assert job.result(timeout=30).outcomes


def test_a_killed_worker_is_shown_within_15_s(
    chromium: Browser, own_redis: RedisProcess, tmp_path: Path
) -> None:
    environment = {"SENTQ_BROKER_URL": own_redis.url}
    worker = WorkerProcess(tmp_path, environment, ("tests.support.workers.standin",))
    gateway = GatewayProcess(tmp_path, own_redis.url)
    try:
        worker.wait_until_ready()
        with open_page(chromium, gateway.wait_until_ready().url) as page:
            page.goto("/console")
            page.get_by_role("rowheader", name="@").wait_for()
            worker.process.kill()
            page.get_by_text(re.compile(r"silent for|No worker reports")).first.wait_for(
                timeout=15_000
            )
    finally:
        gateway.stop()
        worker.stop()


def test_the_budget_of_the_hub_is_shown_as_it_is_used_up(
    chromium: Browser, own_redis: RedisProcess, start_worker: StartWorker, tmp_path: Path
) -> None:
    with LocalHub(token="hf_token") as hub:
        start_worker(
            own_redis.url,
            HF_ENDPOINT=hub.url,
            HF_HOME=str(tmp_path / "hub-cache"),
            HF_TOKEN="hf_token",
            SENTQ_WORKER_PROVIDER="hub",
            SENTQ_WORKER_HUB_MODEL="owner/model",
            SENTQ_WORKER_HUB_ROUTER=f"{hub.url}/hf-inference",
            SENTQ_WORKER_HUB_CALLS_PER_DAY="20",
            SENTQ_WORKER_HUB_CHARS_PER_MONTH="2000000",
            SENTQ_WORKER_HUB_ON_BUDGET_EXHAUSTED="fail",
        )
        gateway = GatewayProcess(tmp_path, own_redis.url).wait_until_ready()
        try:
            with (
                open_page(chromium, gateway.url) as page,
                Client(broker_url=own_redis.url) as client,
            ):
                page.goto("/console")
                row = page.get_by_role("row").filter(has_text="Calls a day")
                row.get_by_text("within").wait_for()
                texts = [f"text {n}" for n in range(25)]
                assert [job.result(timeout=60) for job in client.submit_many(texts)]
                row.get_by_text("used up").wait_for()
                page.get_by_text("budget of 20 calls a day is used up").wait_for()
                assert row.locator(".num").all_inner_texts()[:3] == ["20", "20", "0"]
                assert accessibility_problems(page) == []
            for view in VIEWS:
                with open_page(chromium, gateway.url, view, has_scripts=view != "phone") as page:
                    page.goto("/console")
                    page.get_by_text("budget of 20 calls a day is used up").wait_for()
                    width = page.evaluate("document.documentElement.scrollWidth")
                    assert width <= VIEWS[view][0], "the page scrolls sideways"
                    if folder := os.environ.get("CONSOLE_SCREENSHOTS"):
                        picture = Path(folder) / f"now-budget-{view}.png"
                        page.screenshot(path=picture, full_page=True)
        finally:
            gateway.stop()


def test_the_charts_of_a_page_without_scripts_are_there_and_it_reloads(
    chromium: Browser, gateway: GatewayProcess
) -> None:
    with open_page(chromium, gateway.url, has_scripts=False) as page:
        page.goto("/console")
        assert page.locator('meta[http-equiv="refresh"]').count() == 1
        eventually(lambda: page.reload() and page.locator("polyline").count() > 0, within_s=40)
        assert page.get_by_role("rowheader", name="sentq", exact=True).count() == 1
