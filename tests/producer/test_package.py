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


def test_a_client_is_made_and_closed_without_celery() -> None:
    program = """
import sys
from sentq import Client
with Client(broker_url="redis://localhost:1") as client:
    client.job("0192f0c1-7d3c-7aaa-8bbb-000000000001"), client.dead
imported = {name.partition(".")[0] for name in sys.modules}
print(*imported & {"celery", "kombu", "amqp", "billiard"})
"""
    assert _run(program).split() == []


def test_threads_that_use_a_client_first_share_its_app() -> None:
    program = """
import threading
from sentq import Client
client, found = Client(broker_url="redis://localhost:1"), []
threads = [threading.Thread(target=lambda: found.append(client._app)) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
print(len(found), len(set(map(id, found))))
"""
    assert _run(program).split() == ["8", "1"]


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
