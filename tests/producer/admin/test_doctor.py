"""`sentq doctor` against broken set-ups: what it says is the table of docs/doctor.md."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from sentq import Client, __version__
from sentq.admin import redis_checks
from sentq.cli import app
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, dead_letter_fields
from sentq.wire.functions import load_functions
from sentq.wire.reports import WorkerReport, write_report
from tests.support.ports import free_port
from tests.support.processes import RedisProcess, eventually
from tests.support.roles.users import functions_program, write_users
from tests.support.tls.certificates import Authority
from tests.support.tls.recorder import TlsRecorder

pytestmark = [pytest.mark.slow, pytest.mark.long]

_DOCUMENT = Path(__file__).parents[3] / "docs" / "doctor.md"
_SECRET = "hunter2-the-password"

_Finding = dict[str, str]


def _table() -> dict[str, tuple[str, re.Pattern[str]]]:
    """Return the level and the pattern of each set-up of the document."""
    rows = re.findall(r"^\| (.+?) \| (\w+) \| (.+?) \|$", _DOCUMENT.read_text(), re.MULTILINE)
    return {
        setup.replace("`", ""): (level, re.compile(re.escape(says).replace("…", ".+")))
        for setup, level, says in rows
        if level in {"problem", "warning"}
    }


def _doctor(url: str, *options: str) -> tuple[list[_Finding], int, str]:
    """Return the findings, the exit status, and all that was printed in both forms."""
    arguments = ["doctor", "--broker-url", url, *options]
    run = CliRunner()
    shown = run.invoke(app, arguments, catch_exceptions=False)
    read = run.invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert shown.exit_code == read.exit_code
    return json.loads(read.stdout)["findings"], read.exit_code, shown.output + read.output


def _says(setup: str, url: str, *options: str) -> str:
    """Check that the findings are those that the document has for a set-up; return the output."""
    level, pattern = _table()[setup]
    findings, code, output = _doctor(url, *options)
    (found,) = (f for f in findings if pattern.fullmatch(f"{f['check']}: {f['message']}"))
    assert found["level"] == level
    assert found["advice"]
    assert code == any(finding["level"] == "problem" for finding in findings)
    assert _SECRET not in output
    return output


def _report(server: RedisProcess, **about: Any) -> None:
    now_s = time.time()
    fields: dict[str, Any] = {
        "worker": "a@host",
        "queues": ("sentq", "sentq.bulk"),
        "model": "old",
        "version": __version__,
    }
    report = WorkerReport(at_s=now_s, started_at_s=now_s - 60, **(fields | about))
    with server.client() as connection:
        write_report(connection, report, lifetime_s=60)


@pytest.fixture
def configure(redis_server: RedisProcess) -> Iterator[Callable[..., None]]:
    """Change the configuration of the test's Redis, until the end of the test."""
    before: dict[str, Any] = {}
    with redis_server.client() as connection:

        def change(**values: object) -> None:
            for name, value in values.items():
                key = name.replace("_", "-")
                before.setdefault(key, connection.config_get(key)[key])
                connection.config_set(key, str(value))

        yield change
        for key, value in before.items():
            connection.config_set(key, value)


def test_a_set_up_in_order_has_no_problem(redis_server: RedisProcess) -> None:
    _report(redis_server)
    _report(redis_server, worker="b@host", version="0.2.9")
    findings, code, output = _doctor(redis_server.url)
    assert code == 0, output
    levels = {finding["check"]: finding["level"] for finding in findings}
    levels.pop("broker: version")  # That of this machine may have known flaws.
    assert set(levels.values()) == {"ok"}, output
    with redis_server.client() as connection:
        left = [key.decode() for key in connection.keys("*")]
    assert sorted(left) == ["sentq.worker:a@host", "sentq.worker:b@host", "sentq.workers"]


def test_redis_is_away() -> None:
    output = _says("Redis is away", f"redis://:{_SECRET}@127.0.0.1:{free_port()}/0")
    assert "`sentq dev` starts one" in output


def test_a_wrong_password(redis_server: RedisProcess, configure: Callable[..., None]) -> None:
    configure(requirepass="right")
    _says("a wrong password", redis_server.url.replace("redis://", f"redis://:{_SECRET}@"))
    _says("a wrong password", redis_server.url)  # None at all.


def test_a_certificate_of_another_authority(redis_server: RedisProcess, tmp_path: Path) -> None:
    certificate = Authority(tmp_path / "other").certificate("server")
    with TlsRecorder(certificate, redis_server.port) as recorder:
        url = f"rediss://:{_SECRET}@127.0.0.1:{recorder.port}/0"
        _says("a certificate of another authority", url)
        assert _SECRET.encode() not in recorder.received


def test_eviction_and_persistence(
    redis_server: RedisProcess, configure: Callable[..., None]
) -> None:
    configure(maxmemory_policy="allkeys-lru")
    _says("allkeys-lru", redis_server.url)
    configure(appendonly="no", save="3600 1")
    _says("snapshots only", redis_server.url)
    configure(save="")
    _says("no persistence", redis_server.url)


def test_a_default_user_with_few_rights(tmp_path: Path) -> None:
    users = write_users(tmp_path, "root on >root-secret ~* &* +@all")
    port = free_port()
    command: list[str | Path] = [functions_program(), "--port", str(port), "--dir", tmp_path]
    command += ["--aclfile", users, "--appendonly", "yes", "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"redis://root:root-secret@127.0.0.1:{port}/0"
    try:
        with redis.Redis.from_url(url) as root:
            eventually(lambda: _replies(root), what="a Redis")
            checks = {finding["check"] for finding in _doctor(url)[0]}
            assert "broker: users" not in checks
            root.execute_command("ACL", "SETUSER", "default", "-@all")
            _says("a default user with few rights", url)
        findings, _, _ = _doctor(url.replace("root:root", "operator:operator"))
        assert "broker: users" not in {finding["check"] for finding in findings}
    finally:
        process.terminate()
        process.wait(10)


def _replies(connection: redis.Redis) -> bool:
    try:
        return bool(connection.ping())
    except redis.ConnectionError:
        return False


def test_memory_nearly_full(redis_server: RedisProcess, configure: Callable[..., None]) -> None:
    with redis_server.client() as connection:
        used = int(connection.info("memory")["used_memory"])
    configure(maxmemory=int(used * 1.02))
    _says("memory nearly full", redis_server.url)


@pytest.mark.parametrize(("version", "setup"), [("5.0.14", "Redis 5"), ("6.2.5", "Redis 6.2.5")])
def test_an_old_redis(
    redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch, version: str, setup: str
) -> None:
    true = redis.Redis.info

    def info(connection: redis.Redis, *sections: str) -> Any:
        return {**true(connection, *sections), "redis_version": version}

    monkeypatch.setattr(redis.Redis, "info", info)
    _says(setup, redis_server.url)


def _user(server: RedisProcess, *rules: str) -> str:
    """Make a Redis user with these rights, and return a URL with it."""
    with server.client() as connection:
        connection.execute_command("ACL", "SETUSER", "few", "reset", "on", f">{_SECRET}", *rules)
    return server.url.replace("redis://", f"redis://few:{_SECRET}@")


@pytest.fixture
def _remove_user(redis_server: RedisProcess) -> Iterator[None]:
    yield
    with redis_server.client() as connection:
        connection.execute_command("ACL", "DELUSER", "few")


@pytest.mark.usefixtures("_remove_user")
def test_a_user_with_few_rights(redis_server: RedisProcess) -> None:
    url = _user(redis_server, "~sentq*", "+@connection", "+get", "+mget", "+time", "+llen")
    output = _says("a user with few rights", url)
    assert "send jobs: LPUSH, " in output
    assert "configs/users.acl" in output


@pytest.mark.usefixtures("_remove_user")
@pytest.mark.parametrize("role", ["producer", "operator"])
def test_the_users_of_users_acl_have_the_rights_of_their_roles(
    redis_server: RedisProcess, role: str
) -> None:
    with redis_server.client() as connection:
        has_functions = not connection.info("server")["redis_version"].startswith("6.")
        if has_functions:
            load_functions(connection)
    name = "users.acl" if has_functions else "users-6.2.acl"
    lines = (_DOCUMENT.parents[1] / "configs" / name).read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"user {role} "))
    rules = [rule for rule in re.findall(r"\([^)]*\)|\S+", line)[3:] if not rule.startswith(">")]
    _report(redis_server)
    findings, code, output = _doctor(_user(redis_server, *rules))
    levels = {finding["check"]: finding["level"] for finding in findings}
    assert levels["rights"] == "ok", output
    if role == "producer":
        assert levels["broker: version, persistence, eviction, memory"] == "unknown"
    else:  # An operator may read INFO, for `sentq exporter`.
        assert levels.keys() > {"broker: version", "broker: eviction", "broker: memory"}
    assert code == 0, output


def test_workers_that_are_missing_or_cannot_score(
    redis_server: RedisProcess, client: Client
) -> None:
    _says("no workers", redis_server.url)
    client.submit("CANARY", bulk=True)
    _report(redis_server, queues=("sentq",), waiting_for="the Hub is away")
    assert "CANARY" not in _says("a queue without workers", redis_server.url)
    _says("workers that cannot score", redis_server.url)


def test_workers_that_differ(redis_server: RedisProcess) -> None:
    _report(redis_server)
    _report(redis_server, worker="b@host", model="new", version="3.0.0")
    _says("two models", redis_server.url)
    _says("a worker of version 3", redis_server.url)


def test_a_clock_that_is_wrong_by_an_hour(
    redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FastClock:
        perf_counter = staticmethod(time.perf_counter)

        @staticmethod
        def time() -> float:
            return time.time() + 3600

    monkeypatch.setattr(redis_checks, "time", FastClock)
    _says("a clock that is wrong by an hour", redis_server.url)


def test_settings_that_do_not_fit(
    redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SENTQ_QUEU", _SECRET)
    _says("a mistyped setting", redis_server.url)
    monkeypatch.delenv("SENTQ_QUEU")
    file = tmp_path / "sentq.toml"
    file.write_text("result_ttl_s = 0\n")
    _says("a value that does not fit", redis_server.url, "--config", str(file))


def test_connections_without_tls_or_without_verification(
    redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTQ_TLS_INSECURE_SKIP_VERIFY", "true")
    _says("verification turned off", redis_server.url)
    monkeypatch.delenv("SENTQ_TLS_INSECURE_SKIP_VERIFY")
    _says("no TLS to another host", redis_server.url.replace("127.0.0.1", "127.0.0.2"))


def test_dead_letters(redis_server: RedisProcess) -> None:
    fields = dead_letter_fields(code="malformed", reason="r", message=b"CANARY")
    with redis_server.client() as connection:
        for _ in range(2):
            connection.execute_command("XADD", DEAD_LETTERS_KEY, "*", *fields)
    assert "CANARY" not in _says("dead letters", redis_server.url)


def test_settings_are_shown_with_their_origin_and_without_secrets(
    redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "sentq.toml"
    file.write_text(f'result_ttl_s = 60\n[transport_options]\npassword = "{_SECRET}"\n')
    monkeypatch.setenv("SENTQ_CONFIG", str(file))
    monkeypatch.setenv("SENTQ_QUEUE", "mine")
    monkeypatch.setenv("SENTQ_ENCRYPTION_KEYS", "a:" + "QUJD" * 10 + "QUI=")
    monkeypatch.setenv(
        "SENTQ_RESULT_URL",
        f"redis://u:{_SECRET}@127.0.0.1:{redis_server.port}/1?client_name={_SECRET}",
    )
    _, _, output = _doctor(redis_server.url)
    for line in (
        f"broker_url = {redis_server.url}  (option)",
        "queue = mine  (environment)",
        "result_ttl_s = 60  (file)",
        "transport_options = password  (file)",
        "encryption_keys = 1 set  (environment)",
        f"result_url = redis://***@127.0.0.1:{redis_server.port}/1?***  (environment)",
    ):
        assert line in output
    assert _SECRET not in output
    assert "QUJD" not in output


def test_a_second_redis_for_results_is_checked_too(
    redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTQ_RESULT_URL", f"redis://127.0.0.1:{free_port()}/0")
    findings, code, _ = _doctor(redis_server.url)
    (found,) = (finding for finding in findings if finding["check"] == "results: connection")
    assert found["message"] == "Redis does not answer (ConnectionRefusedError)"
    assert code == 1


def test_a_url_with_an_unknown_option_is_a_problem(redis_server: RedisProcess) -> None:
    findings, code, _ = _doctor(f"{redis_server.url}?no_such_option=1")
    assert findings[-1]["message"] == "the URL cannot be used (TypeError)"
    assert code == 1


def test_each_set_up_of_the_document_is_tested() -> None:
    source = Path(__file__).read_text()
    assert len(_table()) >= 20
    assert [setup for setup in _table() if f'"{setup}"' not in source] == []
