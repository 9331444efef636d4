"""The console with the rights of the user `gateway`, and with those that docs/console.md adds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fastapi.testclient import TestClient

from sentq import Client, Settings
from sentq.gateway.app import make_gateway
from sentq.gateway.closing import Closing
from sentq.gateway.settings import GatewaySettings
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, dead_letter_fields
from sentq.wire.functions import load_functions
from tests.producer.gateway.console.conftest import Browser, text_of
from tests.support.gateway.keys import with_new_key
from tests.support.processes import RedisProcess
from tests.support.roles.users import as_role, functions_program, write_users

PAGE: Final = Path(__file__).parents[3] / "docs" / "console.md"


@contextmanager
def _server(folder: Path, more_rights: str) -> Iterator[RedisProcess]:
    users = write_users(folder, "default on nopass ~* &* +@all", f"gateway {more_rights}")
    server = RedisProcess(functions_program(), folder, "--aclfile", str(users)).start()
    with server.client() as root:
        load_functions(root)
    yield server
    server.stop()


@contextmanager
def _browser(server: RedisProcess) -> Iterator[Browser]:
    """Log in as an administrator, at a gateway that connects as `gateway`."""
    made = with_new_key(Settings.load(broker_url=server.url), "admin", "admin")
    settings = Settings.load(broker_url=as_role(server.url, "gateway"))
    app = make_gateway(settings, GatewaySettings.load(), Closing())
    with TestClient(app, base_url="http://localhost:8200") as http:
        browser = Browser(http)
        browser.log_in(made)
        yield browser


def test_a_gateway_may_not_read_dead_letters_and_shows_the_other_pages(tmp_path: Path) -> None:
    with _server(tmp_path, "") as server, _browser(server) as browser:
        assert "admin" in text_of(browser.load())
        assert browser.http.get("/console/now/history").status_code == 200
        browser.load("/jobs")
        assert "503" in text_of(browser.load("/dead-letters", status=503))


def test_the_rights_that_the_page_adds_suffice_for_dead_letters(tmp_path: Path) -> None:
    added = re.search(r"```\n(\(~sentq\.dead .+)\n```", PAGE.read_text(encoding="utf-8"))
    assert added is not None
    with (
        _server(tmp_path, added[1]) as server,
        _browser(server) as browser,
        server.client() as root,
        Client(broker_url=server.url) as client,
    ):
        job = client.submit("text")
        message = root.rpop("sentq")
        assert isinstance(message, bytes)
        for known in (message, b"m"):
            fields = dead_letter_fields(
                code="worker_lost", reason="r", message=known, job_id=job.id, queue="sentq"
            )
            root.execute_command("XADD", DEAD_LETTERS_KEY, "*", *fields)
        first, second = (entry[0].decode() for entry in root.xrange(DEAD_LETTERS_KEY))
        for action, id_, result in (
            ("retry", first, "1 sent again"),
            ("drop", second, "1 dropped"),
        ):
            page = browser.send(
                "/dead-letters/act", from_page="/dead-letters", action=action, id=id_
            )
            assert result in text_of(page)
        assert root.llen("sentq") == 1
        assert job.status() == "queued"
