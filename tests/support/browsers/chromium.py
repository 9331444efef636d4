"""Headless Chromium with Playwright: pages of the console, as people see them.

`axe.min.js` beside this file is axe-core 4.14.1 (MPL-2.0, `axe.LICENSE`). It is used by tests only.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.support.missing import skip_without

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["VIEWS", "accessibility_problems", "headless_chromium", "open_page"]

#: Window sizes and colour schemes in which pages are looked at.
VIEWS: Final[dict[str, tuple[int, int, Literal["light", "dark"]]]] = {
    "light": (1280, 860, "light"),
    "dark": (1280, 860, "dark"),
    "phone": (390, 844, "light"),
}

_AXE: Final = Path(__file__).with_name("axe.min.js")

#: What fails a test: the others are advice.
_GRAVE: Final = ("serious", "critical", "moderate")


@contextmanager
def headless_chromium() -> Iterator[Browser]:
    """Start the Chromium of the system, or skip the test."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        skip_without("chromium", "not installed: the pages of the console are not looked at")
    if find_spec("playwright") is None:
        skip_without("playwright", "not installed: the pages of the console are not looked at")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The tests may run as root, in a container, where Chromium's sandbox cannot.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_page(
    browser: Browser, url: str, view: str = "light", *, has_scripts: bool = True
) -> Iterator[Page]:
    """Open a page, and check at its end that it had no error.

    Args:
        browser: The browser.
        url: The gateway, without a path: pages are opened relative to it.
        view: One of `VIEWS`.
        has_scripts: Whether scripts run.

    Raises:
        AssertionError: A script failed, a file was missing, or the policy was violated.
    """
    width, height, scheme = VIEWS[view]
    context = browser.new_context(
        base_url=url,
        color_scheme=scheme,
        java_script_enabled=has_scripts,
        viewport={"width": width, "height": height},
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda message: problems.append(message.text) if message.type == "error" else None,
    )
    yield page
    context.close()
    assert not problems, problems


def accessibility_problems(page: Page) -> list[str]:
    """Return what axe finds on a page, in words: the rule, and the elements."""
    page.evaluate(_AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("() => axe.run(document)")
    return [
        f"{each['impact']} {each['id']}: {[node['html'][:200] for node in each['nodes']]}"
        for each in found["violations"]
        if each["impact"] in _GRAVE
    ]
