"""The applications in `examples/`: their own tests, without Redis, and on a real worker.

Each test runs them as a reader does: in the application's folder, by its own command.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands.bundled import bundled_worker

EXAMPLES: Final = Path(__file__).parents[2] / "examples"

PYTEST: Final = ("-m", "pytest", "-p", "no:cacheprovider")

#: The command of each application's tests, after `python`.
TESTS: Final = {
    "celery_shop": PYTEST,
    "django_reviews": ("manage.py", "test"),
    "fastapi_reviews": PYTEST,
    "flask_reviews": PYTEST,
}


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a worker with the bundled model and its own Redis; give the URL."""
    with bundled_worker(tmp_path_factory.mktemp("bundled")) as url:
        yield url


def _run_tests(application: str, **variables: str) -> int:
    """Run an application's tests, and return how many have passed."""
    done = subprocess.run(
        [sys.executable, *TESTS[application]],
        cwd=EXAMPLES / application,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    found = re.search(r"(\d+) passed|Ran (\d+) tests", printed)
    assert found, printed
    return int(found[1] or found[2])


@pytest.mark.parametrize(
    "application",
    [
        pytest.param(each, marks=() if each == "fastapi_reviews" else pytest.mark.slow)
        for each in TESTS
    ],
)
def test_the_tests_of_an_application_need_no_redis(application: str) -> None:
    assert _run_tests(application) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("application", TESTS)
def test_the_same_tests_pass_on_a_real_worker(application: str, bundled: str) -> None:
    assert _run_tests(application, SENTQ_BROKER_URL=bundled) >= 5


def test_each_application_with_tests_is_run_here() -> None:
    found = {file.parent.name for file in EXAMPLES.glob("*/pytest.ini")}
    assert found | {"django_reviews"} == set(TESTS)
