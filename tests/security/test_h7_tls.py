"""`rediss://` means a verified server: another one gets no byte of password or text."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from celery import Celery
from typer.testing import CliRunner

from sentq import AsyncClient, Client, JobStatus, Prediction, Settings, errors
from sentq.cli import app as cli
from sentq.connection.app import make_app, own_backend
from tests.support.celery.flower import start_flower
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.tls.certificates import Authority
from tests.support.tls.recorder import TlsRecorder
from tests.support.tls.servers import MASTER, redis_with_tls, sentinel_with_tls

PASSWORD: Final = "the-password-of-redis"
TEXT: Final = "a text that must stay private"
STANDIN: Final = ("tests.support.workers.standin",)


@dataclass
class UntrustedServer:
    """A Redis with a password, and a TLS server in front of it that is not to be trusted."""

    plain_url: str
    url: str
    trusted: Authority
    recorder: TlsRecorder
    redis: redis.Redis

    def got_a_secret(self) -> bool:
        """Whether the TLS server got the password or a text."""
        return PASSWORD.encode() in self.recorder.received or b"text" in self.recorder.received


@contextmanager
def _site(folder: Path, server: RedisProcess, *, shows: str) -> Iterator[UntrustedServer]:
    trusted = Authority(folder / "trusted")
    if shows == "a certificate of another authority":
        certificate = Authority(folder / "other").certificate("server")
    else:
        certificate = trusted.certificate("server", address="DNS:redis.example")
    with server.client() as client, TlsRecorder(certificate, server.port) as recorder:
        client.config_set("requirepass", PASSWORD)
        try:
            plain_url = f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"
            url = f"rediss://:{PASSWORD}@127.0.0.1:{recorder.port}/0"
            yield UntrustedServer(plain_url, url, trusted, recorder, client)
        finally:
            client.config_set("requirepass", "")


@pytest.fixture(params=["a certificate of another authority", "the name of another host"])
def untrusted(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    redis_server: RedisProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[UntrustedServer]:
    with _site(tmp_path, redis_server, shows=request.param) as site:
        monkeypatch.setenv("SENTQ_TLS_CA_FILE", str(site.trusted.file))
        monkeypatch.setenv("SENTQ_CONNECT_TIMEOUT_S", "0.5")
        yield site


CLIENT_CALLS: Final[dict[str, Callable[[Client], Any]]] = {
    "submit": lambda client: client.submit(TEXT),
    "submit with a key": lambda client: client.submit(TEXT, key="key"),
    "submit_many": lambda client: list(client.submit_many([[TEXT], [TEXT]])),
    "map": lambda client: list(client.map([TEXT], timeout=1)),
    "result": lambda client: client.job("b9b1e6a8-5b0b-4f57-a0f5-3a45a2ecf8b1").result(timeout=1),
    "results": lambda client: list(
        client.results([client.job("b9b1e6a8-5b0b-4f57-a0f5-3a45a2ecf8b1")], timeout=1)
    ),
    "cancel": lambda client: client.job("b9b1e6a8-5b0b-4f57-a0f5-3a45a2ecf8b1").cancel(),
    "service_status": lambda client: client.service_status(),
    "dead.entries": lambda client: list(client.dead.entries()),
    "dead.count": lambda client: client.dead.count(),
}

COMMANDS: Final = (
    ("score", TEXT, "--timeout", "1"),
    ("status",),
    ("dead", "list"),
    ("dead", "retry", "--all", "--yes"),
    ("dead", "drop", "--all", "--yes"),
)


def test_no_call_of_the_client_sends_a_secret_to_an_untrusted_server(
    untrusted: UntrustedServer,
) -> None:
    addresses: tuple[dict[str, Any], ...] = (
        {"broker_url": untrusted.url},
        {"broker_url": untrusted.url, "result_url": untrusted.plain_url},
    )
    for urls in addresses:
        for name, call in CLIENT_CALLS.items():
            with Client(Settings.load(**urls)) as client, suppress(errors.SentqError, TimeoutError):
                call(client)
            assert not untrusted.recorder.received, (name, bytes(untrusted.recorder.received))
    assert untrusted.recorder.connections
    with (
        Client(broker_url=untrusted.plain_url, result_url=untrusted.url) as client,
        suppress(errors.SentqError, TimeoutError),
    ):
        client.submit(TEXT).result(timeout=1)
    assert not untrusted.recorder.received


def test_no_call_of_the_client_for_asyncio_sends_a_secret_to_an_untrusted_server(
    untrusted: UntrustedServer,
) -> None:
    job_id = "b9b1e6a8-5b0b-4f57-a0f5-3a45a2ecf8b1"

    async def calls() -> None:
        async with AsyncClient(broker_url=untrusted.url) as client:
            for call in (
                client.submit(TEXT),
                client.submit(TEXT, key="key"),
                client.job(job_id).result(timeout=1),
                client.job(job_id).cancel(),
                client.service_status(),
                client.dead.count(),
            ):
                with pytest.raises(errors.RedisUnavailable):
                    await call
        # The second address alone: that of results.
        async with AsyncClient(broker_url=untrusted.plain_url, result_url=untrusted.url) as client:
            with pytest.raises(errors.RedisUnavailable):
                await client.job(job_id).result(timeout=1)

    asyncio.run(calls())
    assert untrusted.recorder.connections
    assert not untrusted.recorder.received


def test_no_command_sends_a_secret_to_an_untrusted_server(untrusted: UntrustedServer) -> None:
    for command in COMMANDS:
        done = CliRunner().invoke(cli, [*command, "--broker-url", untrusted.url])
        assert isinstance(done.exception, errors.SentqError), (command, done.output)
        assert not untrusted.recorder.received, command
    assert untrusted.recorder.connections >= len(COMMANDS)
    assert not untrusted.redis.exists("sentq")


@pytest.mark.slow
def test_no_worker_sends_a_secret_to_an_untrusted_server(
    untrusted: UntrustedServer, tmp_path: Path
) -> None:
    for urls in (
        {"SENTQ_BROKER_URL": untrusted.url},
        {"SENTQ_BROKER_URL": untrusted.url, "SENTQ_RESULT_URL": untrusted.plain_url},
        {"SENTQ_BROKER_URL": untrusted.plain_url, "SENTQ_RESULT_URL": untrusted.url},
    ):
        worker = WorkerProcess(tmp_path, urls | {"SENTQ_WORKER_START_WAIT_S": "1"}, STANDIN)
        assert worker.process.wait(60) == 69, worker.log
    assert untrusted.recorder.connections
    assert not untrusted.recorder.received


@pytest.mark.slow
def test_no_thread_of_a_worker_reconnects_to_an_untrusted_server(
    tmp_path: Path, redis_server: RedisProcess
) -> None:
    trusted, other = Authority(tmp_path / "trusted"), Authority(tmp_path / "other")
    with redis_server.client() as client:
        client.config_set("requirepass", PASSWORD)
        try:
            with TlsRecorder(trusted.certificate("server"), redis_server.port) as before:
                environment = {
                    "SENTQ_BROKER_URL": f"rediss://:{PASSWORD}@127.0.0.1:{before.port}/0",
                    "SENTQ_TLS_CA_FILE": str(trusted.file),
                }
                worker = WorkerProcess(tmp_path, environment, STANDIN).wait_until_ready()
                eventually(lambda: client.zcard("sentq.workers"), what="a report")
                assert PASSWORD.encode() in before.received
            with TlsRecorder(
                other.certificate("server"), redis_server.port, port=before.port
            ) as after:
                client.client_kill_filter(_type="normal", skipme=True)
                # The event loop and the leases, each with connections of its own.
                eventually(lambda: "leases cannot be renewed now" in worker.log, what="a lease")
                eventually(lambda: "onnection to broker lost" in worker.log, what="the loop")
                seen = after.connections
                eventually(lambda: after.connections > seen + 3, what="further attempts")
                assert not after.received
                worker.process.kill()
                worker.process.wait()
        finally:
            client.config_set("requirepass", "")


@pytest.mark.slow
def test_inspect_and_flower_send_no_secret_to_an_untrusted_server(
    untrusted: UntrustedServer, tmp_path: Path
) -> None:
    environment = {"SENTQ_BROKER_URL": untrusted.url}
    flower = start_flower(tmp_path, environment)
    command = ("celery", "-A", "sentq_worker", "inspect", "ping", "--timeout", "1")
    inspect = WorkerProcess(tmp_path, environment, command)
    with suppress(subprocess.TimeoutExpired):
        inspect.process.wait(20)
    inspected = untrusted.recorder.connections
    assert inspected

    def has_tried() -> bool:
        with suppress(OSError):
            flower.get("/broker")
        return untrusted.recorder.connections > inspected + 2

    try:
        eventually(has_tried, within_s=60, what="a connection of Flower")
        time.sleep(1)
        assert not untrusted.recorder.received
    finally:
        for process in (flower.process, inspect):
            process.process.kill()
            process.process.wait()


def test_only_the_setting_that_says_insecure_reaches_an_untrusted_server(
    untrusted: UntrustedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for option in ("ssl_cert_reqs=none", "ssl_cert_reqs=CERT_OPTIONAL", "ssl_check_hostname=false"):
        with pytest.raises(errors.SettingsError, match="tls_insecure_skip_verify"):
            Client(broker_url=f"{untrusted.url}?{option}")
    assert not caplog.records
    monkeypatch.setenv("SENTQ_TLS_INSECURE_SKIP_VERIFY", "true")
    with Client(broker_url=untrusted.url) as client:
        client.submit(TEXT)
        assert "are not verified (tls_insecure_skip_verify)" in caplog.text
        assert untrusted.got_a_secret(), "the recorder would have seen the secrets above"
        untrusted.recorder.received.clear()
        monkeypatch.setenv("SENTQ_TLS_INSECURE_SKIP_VERIFY", "false")
        # Kombu's pools are shared by the apps of a process.
        with Client(broker_url=untrusted.url) as strict, pytest.raises(errors.BrokerUnavailable):
            strict.submit(TEXT)
    assert PASSWORD.encode() not in untrusted.recorder.received


def test_an_unverified_connection_of_another_app_is_not_used(untrusted: UntrustedServer) -> None:
    with Client(broker_url=untrusted.url) as client:
        ours = client._app
        other = Celery(set_as_current=False)
        other.conf.update(
            broker_url=untrusted.url,
            broker_use_ssl={"ssl_cert_reqs": "none", "ssl_check_hostname": False},
            broker_transport_options={
                key: value
                for key, value in ours.conf.broker_transport_options.items()
                if key != "sentq_tls"
            },
        )
        with other.pool.acquire() as connection:
            connection.ensure_connection(max_retries=1)
            connection.default_channel.client.ping()
        assert untrusted.got_a_secret()
        untrusted.recorder.received.clear()
        with pytest.raises(errors.BrokerUnavailable):
            client.submit(TEXT)
        assert TEXT.encode() not in untrusted.recorder.received
        other.pool.force_close_all()


@pytest.mark.slow
def test_client_certificates_are_shown_by_client_and_worker(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    server, own = authority.certificate("server"), authority.certificate("client")
    with redis_with_tls(tmp_path, authority, server, "--tls-auth-clients", "yes") as (_, port):
        url = f"rediss://127.0.0.1:{port}/0"
        without: dict[str, Any] = {"broker_url": url, "tls_ca_file": authority.file}
        with Client(Settings.load(**without)) as client, pytest.raises(errors.BrokerUnavailable):
            client.submit(TEXT)
        settings = without | {"tls_cert_file": own.certificate, "tls_key_file": own.key}
        environment = {f"SENTQ_{key.upper()}": str(value) for key, value in settings.items()}
        worker = WorkerProcess(tmp_path, environment, STANDIN).wait_until_ready()
        with Client(Settings.load(**settings)) as client:
            (outcome,) = client.submit(TEXT).result(timeout=30).outcomes
            assert isinstance(outcome, Prediction)
            assert client.service_status().workers
            # The leases are renewed on connections of their own.
            (report,) = client.service_status().workers
            later = eventually(
                lambda: [w for w in client.service_status().workers if w.at_s > report.at_s]
            )
            assert later
        assert worker.stop() == 0, worker.log
        assert "not verified" not in worker.log


@pytest.mark.slow
def test_sentinel_and_the_redis_that_it_names_are_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "authority")
    shown = authority, authority.certificate("server")
    with (
        redis_with_tls(tmp_path, *shown, "--tls-auth-clients", "no") as (_, master),
        sentinel_with_tls(tmp_path, *shown, master_port=master) as (_, port),
    ):
        urls: dict[str, Any] = {
            "broker_url": f"sentinel://127.0.0.1:{port}/0?ssl_cert_reqs=required",
            "transport_options": {"master_name": MASTER},
        }
        with (
            Client(Settings.load(**urls, socket_timeout_s=1)) as client,
            pytest.raises(errors.BrokerUnavailable),
        ):
            client.submit(TEXT)
        with pytest.raises(errors.BrokerUnavailable):
            asyncio.run(_submit(Settings.load(**urls, socket_timeout_s=1)))
        settings = urls | {"tls_ca_file": authority.file}
        with Client(Settings.load(**settings)) as client:
            job = client.submit(TEXT)
            assert job.status() is JobStatus.QUEUED
            asyncio.run(_submit(Settings.load(**settings)))
            assert client.backlog().total_jobs == 2
        with pytest.raises(errors.SettingsError, match="sentinel:// needs"):
            Client(Settings.load(**settings | {"broker_url": f"sentinel://127.0.0.1:{port}/0"}))


async def _submit(settings: Settings) -> None:
    async with AsyncClient(settings) as client:
        await client.submit(TEXT)


@pytest.mark.unit
def test_every_client_of_an_app_verifies() -> None:
    app = make_app(Settings.load(broker_url="rediss://h/0?ssl_ciphers=DEFAULT"))
    with app.connection_for_write() as connection:
        assert connection.ssl == app.conf.broker_use_ssl
    assert app.conf.broker_use_ssl["ssl_cert_reqs"] == "required"
    assert app.conf.broker_use_ssl["ssl_check_hostname"] is True
    for backend in (app.backend, own_backend(app)):
        assert backend.connparams["ssl_cert_reqs"].name == "CERT_REQUIRED"
        assert backend.connparams["ssl_check_hostname"] is True
        assert backend.connparams["ssl_ciphers"] == "DEFAULT"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"broker_url": "rediss://h/0?ssl_cert_reqs=maybe"}, "must be required, optional or none"),
        ({"broker_url": "rediss://h/0?ssl_cert=x"}, "ssl_cert is not an option of TLS"),
        ({"broker_url": "rediss://h/0?SSL_CERT_REQS=none"}, "tls_insecure_skip_verify"),
        ({"broker_url": "redis://h/0?ssl_cert_reqs=required"}, "need a rediss://"),
        ({"broker_url": "rediss://a/0;redis://b/0"}, "either all addresses"),
        ({"broker_url": "redis://h", "result_url": "rediss://h?ssl_cert_reqs=none"}, "result_url"),
        ({"broker_url": "rediss://h", "tls_ca_file": "/no/ca.pem"}, "/no/ca.pem"),
        ({"broker_url": "rediss://h", "tls_cert_file": "/no/c.pem"}, "/no/c.pem"),
        ({"broker_url": "rediss://h", "tls_key_file": "/no/k.pem"}, "tls_key_file needs"),
        ({"broker_url": "rediss://h?ssl_keyfile=/no/k.pem"}, "/no/k.pem needs a certificate"),
        (
            {
                "broker_url": "sentinel://h?ssl_cert_reqs=required",
                "transport_options": {"sentinel_kwargs": {"ssl_cert_reqs": "none"}},
            },
            "sentinel_kwargs: ssl_cert_reqs",
        ),
    ],
)
def test_a_wrong_option_of_tls_is_one_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.SettingsError, match=message) as caught:
        make_app(Settings.load(**settings))
    assert "rediss://h" not in str(caught.value)
