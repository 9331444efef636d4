"""The package `sentq`: what it exports, and what `import sentq` imports."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import sentq
from sentq import errors

#: What takes most of the time of the client's imports.
_HEAVY = ("celery", "kombu", "redis", "pydantic")


def _run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_import_sentq_imports_no_heavy_package() -> None:
    program = f"import sys, sentq; print(*[name for name in {_HEAVY} if name in sys.modules])"
    assert _run(program).split() == []


def test_errors_can_be_caught_without_a_heavy_package() -> None:
    program = f"""
import sys, sentq
try:
    raise sentq.QueueFull("full", retry_after_s=1)
except (sentq.Overloaded, sentq.errors.JobFailed):
    print(*[name for name in {_HEAVY} if name in sys.modules])
"""
    assert _run(program).split() == []


def test_each_name_is_that_of_its_module() -> None:
    for module, names in sentq._MODULES.items():
        for name in names:
            assert getattr(sentq, name) is getattr(import_module(f"sentq.{module}"), name)
    others = {*sentq.__all__} - {*sentq._MODULE_OF} - {*errors.__all__}
    assert others == {"__version__"}


def test_all_names_are_imported_by_a_star_and_are_listed() -> None:
    program = (
        "import sentq; from sentq import *; print(*[n for n in sentq.__all__ if n in globals()])"
    )
    assert _run(program).split() == sentq.__all__
    assert {*sentq.__all__} <= {*dir(sentq)}


def test_several_threads_may_use_a_name_first() -> None:
    program = """
import threading, sentq
found = []
threads = [threading.Thread(target=lambda: found.append(sentq.Client)) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
print(len(found), len(set(found)))
"""
    assert _run(program).split() == ["8", "1"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Cleint'"):
        _ = sentq.Cleint
    with pytest.raises(ImportError, match="cannot import name 'Cleint'"):
        from sentq import Cleint  # noqa: F401
