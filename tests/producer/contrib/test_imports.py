"""What importing sentq and the parts of `sentq.contrib` that know no framework imports."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest

#: A module of each framework. Kombu imports a part of Django by itself, `django.utils`.
FRAMEWORKS: Final = {"django.conf", "fastapi", "flask", "starlette"}


@pytest.mark.parametrize(
    "modules",
    [
        "sentq, sentq.aio, sentq.cli",
        "sentq.contrib.asgi, sentq.contrib.problems, sentq.contrib.processes",
    ],
)
def test_only_modules_of_a_framework_import_it(modules: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print(*sys.modules)"],
        # Celery imports Django by itself where this variable is set.
        env={name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert FRAMEWORKS & set(done.stdout.split()) == set()
