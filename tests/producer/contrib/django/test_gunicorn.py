"""The Django example under gunicorn: preloaded, with four processes, on a real Redis and worker.

The application is imported once, and uses its client there already; then gunicorn forks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx2
import pytest

from tests.support.logs import register_log
from tests.support.ports import free_port
from tests.support.processes import RedisProcess, eventually
from tests.support.workers.standin import hash_score

pytestmark = pytest.mark.slow

EXAMPLE: Final = Path(__file__).parents[4] / "examples" / "django_reviews"

REQUESTS: Final = 1000
PROCESSES: Final = 4

#: Imports the example as gunicorn does, and has a text scored before any fork. Each response names
#: the process that made it.
SITE: Final = """
import os
from website.{kind} import application as inner
from sentq.contrib.django import get_client

get_client().submit("before the fork").result(timeout=20)
{application}
"""

WSGI: Final = """
def application(environ, start_response):
    def start(status, headers, *rest):
        return start_response(status, [*headers, ("X-Process", str(os.getpid()))], *rest)

    return inner(environ, start)
"""

ASGI: Final = """
async def application(scope, receive, send):
    async def send_named(message):
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-process", str(os.getpid()).encode())]
        await send(message)

    await inner(scope, receive, send_named)
"""


@contextmanager
def _gunicorn(folder: Path, broker_url: str, kind: str) -> Iterator[str]:
    """Run gunicorn for the block; yield its address."""
    application = {"wsgi": WSGI, "asgi": ASGI}[kind]
    (folder / "preloaded_site.py").write_text(SITE.format(kind=kind, application=application))
    address = f"127.0.0.1:{free_port()}"
    command = [
        *(sys.executable, "-m", "gunicorn", "preloaded_site:application", "--preload"),
        *("--bind", address, "--workers", str(PROCESSES), "--no-control-socket"),
        *(("--worker-class", "asgi") if kind == "asgi" else ()),
    ]
    environment = os.environ | {
        "SENTQ_BROKER_URL": broker_url,
        "DJANGO_SETTINGS_MODULE": "website.settings",
        "PYTHONPATH": os.pathsep.join([str(folder), str(EXAMPLE)]),
        "REVIEWS_DB": str(folder / "reviews.sqlite3"),
    }
    log_file = register_log(folder / f"gunicorn-{kind}.log")
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        eventually(
            lambda: process.poll() is not None or _answers(address), within_s=60, what="gunicorn"
        )
        assert process.poll() is None, log_file.read_text()
        yield f"http://{address}"
    finally:
        process.terminate()
        assert process.wait(30) == 0, log_file.read_text()


def _answers(address: str) -> bool:
    with suppress(httpx2.TransportError):
        return httpx2.get(f"http://{address}/none").status_code == 404
    return False


@pytest.mark.parametrize(
    ("kind", "path", "least_processes"),
    # A process for WSGI has one request at a time. Of those for ASGI, one may take most.
    [("wsgi", "/mood", PROCESSES), ("asgi", "/mood-async", 2)],
    ids=["wsgi", "asgi"],
)
def test_four_preloaded_processes_score_a_thousand_requests(
    kind: str, path: str, least_processes: int, scored_redis: RedisProcess, tmp_path: Path
) -> None:
    limits = httpx2.Limits(max_keepalive_connections=0)
    with (
        _gunicorn(tmp_path, scored_redis.url, kind) as address,
        httpx2.Client(base_url=address, timeout=60, limits=limits) as http,
        ThreadPoolExecutor(16) as threads,
    ):
        texts = [f"request {number}" for number in range(REQUESTS)]
        responses = list(threads.map(lambda text: http.post(path, content=text), texts))
    assert Counter(response.status_code for response in responses) == {200: REQUESTS}
    for text, response in zip(texts, responses, strict=True):
        # The sentiment of the stand-in's prediction tells texts apart.
        assert response.json()["sentiment"] == pytest.approx(2 * hash_score(text) - 1), text
    assert len({response.headers["X-Process"] for response in responses}) >= least_processes
