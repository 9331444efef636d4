"""Browsers without JavaScript: clients of a console that send its forms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from html import unescape
from typing import Any, TypeAlias

import pytest
from fastapi.testclient import TestClient

from sentq import Settings
from sentq.gateway.app import make_gateway
from sentq.gateway.closing import Closing
from sentq.gateway.keys.records import NewKey
from sentq.gateway.settings import GatewaySettings

#: Opens a browser, logged in with a key if one is given.
OpenBrowser: TypeAlias = Callable[..., "Browser"]

#: Opens a browser of a gateway with these settings.
OpenBrowserOf: TypeAlias = Callable[..., "Browser"]

_FORM_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')


class Browser:
    """Loads pages and sends forms.

    Args:
        http: Sends its requests, and keeps its cookies.
    """

    def __init__(self, http: TestClient) -> None:
        self.http = http

    def load(self, path: str = "", *, status: int = 200) -> str:
        """Return a page."""
        response = self.http.get(f"/console{path}")
        assert response.status_code == status, response.text
        return response.text

    def send(self, path: str, *, from_page: str, status: int = 200, **fields: Any) -> str:
        """Send a form of a page, and return the page that follows."""
        found = _FORM_TOKEN.search(self.load(from_page))
        assert found is not None
        return self.post(path, {"form_token": found[1], **fields}, status=status)

    def post(self, path: str, fields: Mapping[str, Any], *, status: int = 200) -> str:
        """Send fields, and return the page that follows."""
        response = self.http.post(f"/console{path}", data=dict(fields))
        assert response.status_code == status, response.text
        return response.text

    def log_in(self, made: NewKey) -> str:
        """Log in with a key, and return the page that follows."""
        return self.post("/login", {"key": made.key})


def text_of(page: str) -> str:
    """Return the text of a page, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


@pytest.fixture
def open_browser_of() -> Iterator[OpenBrowserOf]:
    """Open browsers, each with a gateway of its own with these settings."""
    with ExitStack() as opened:

        def open_browser_of(settings: Settings, **own: Any) -> Browser:
            app = make_gateway(settings, GatewaySettings.load(**own), Closing())
            http = TestClient(app, base_url="http://localhost:8200")
            return Browser(opened.enter_context(http))

        yield open_browser_of


@pytest.fixture
def open_browser(settings: Settings, open_browser_of: OpenBrowserOf) -> OpenBrowser:
    """Open browsers of gateways on the test's Redis."""

    def open_browser(key: NewKey | None = None, **own: Any) -> Browser:
        browser = open_browser_of(settings, **own)
        if key is not None:
            browser.log_in(key)
        return browser

    return open_browser
