"""Examines a whole set-up: Redis, the rights of its user, workers, settings. For `sentq doctor`."""

from __future__ import annotations

import platform
import re
import ssl
from collections.abc import Generator, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import redis
from kombu.exceptions import OperationalError
from pydantic import BaseModel, ConfigDict, SecretStr

from sentq.admin.findings import (
    DoctorFinding,
    Level,
    ok,
    problem,
    unknown,
    unless_refused,
    warning,
)
from sentq.admin.fleet_checks import check_fleet
from sentq.admin.redis_checks import check_clock, check_latency, check_server
from sentq.admin.rights import check_rights
from sentq.admin.status import read_status
from sentq.connection.app import make_app
from sentq.connection.broker import how_to_start_redis, open_broker
from sentq.errors import BrokerUnavailable, SettingsError
from sentq.settings import Settings
from sentq.version import VERSION, find_commit
from sentq.wire.sealing import load_keyring

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["Examination", "SettingInForce", "examine"]

_PACKAGES: Final = ("celery", "kombu", "redis", "pydantic")

_LOCAL_HOSTS: Final = ("", "localhost", "127.0.0.1", "::1")

#: User and password in a URL. A password may have any character, if it is not written as it should
#: be.
_USER: Final = re.compile(r"://.*@", re.DOTALL)

#: Beginnings of what Redis says about a password.
_PASSWORD_WORDS: Final = ("WRONGPASS", "NOAUTH", "invalid username-password", "Authentication")


class SettingInForce(BaseModel):
    """A setting that is not at its default.

    Attributes:
        name: The setting.
        value: Its value; of a secret only that it is set.
        origin: `option`, `environment` or `file`.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    value: str
    origin: str


class Examination(BaseModel):
    """What `sentq doctor` found. It has no secret and no text.

    Attributes:
        version: The version of sentq here.
        commit: Its commit, None if that is not known.
        packages: Versions of Python and of packages.
        settings: The settings of the client that are not at their defaults.
        findings: The checks, in order.
    """

    model_config = ConfigDict(frozen=True)

    version: str
    commit: str | None
    packages: dict[str, str]
    settings: tuple[SettingInForce, ...]
    findings: tuple[DoctorFinding, ...]

    @property
    def has_problems(self) -> bool:
        """Whether a check found something that must be mended."""
        return any(finding.level is Level.PROBLEM for finding in self.findings)


def examine(file: Path | None = None, **overrides: object) -> Examination:
    """Examine the set-up that these settings describe.

    Args:
        file: The TOML file; None for the one that `SENTQ_CONFIG` names, if any.
        overrides: Single settings that override the others.
    """
    in_force: tuple[SettingInForce, ...] = ()
    try:
        settings = Settings.load(file, **overrides)
        origins = Settings.origins(file, **overrides)
        in_force = tuple(_settings_in_force(settings, origins))
        findings = tuple(_examine(settings))
    except SettingsError as error:
        advice = "correct it; docs/settings.md has all settings"
        findings = (problem("settings", str(error), advice),)
    return Examination(
        version=VERSION,
        commit=find_commit(),
        packages={"python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES},
        settings=in_force,
        findings=findings,
    )


def _examine(settings: Settings) -> Iterator[DoctorFinding]:
    """Check what can be checked, in order.

    Raises:
        SettingsError: A setting cannot be used.
    """
    load_keyring(settings)
    app = make_app(settings)
    yield ok("settings", "valid; those of workers are checked by sentq-worker")
    yield _tls(settings)
    if not settings.broker_is_redis:
        yield unknown("broker", "it is not Redis: nothing more is checked")
        return
    is_reached = yield from _broker(app, settings)
    if settings.result_backend_url.get_secret_value() != settings.broker_url.get_secret_value():
        yield from _results(app)
    if is_reached:
        yield from unless_refused("workers", lambda: _fleet(app, settings))
    app.close()


def _broker(app: Celery, settings: Settings) -> Generator[DoctorFinding, None, bool]:
    try:
        with open_broker(app) as broker:
            yield ok("broker: connection", "Redis answers")
            yield from check_server(broker.redis, "broker")
            yield check_latency(broker.redis, "broker")
            yield from check_clock(broker.redis, "broker")
            yield check_rights(broker, settings.queue)
    except BrokerUnavailable as error:
        yield _unreachable("broker", "broker_url", error)
        return False
    except (TypeError, ValueError) as error:
        yield _unusable_url("broker", "broker_url", error)
        return False
    return True


def _results(app: Celery) -> Iterator[DoctorFinding]:
    try:
        connection: redis.Redis = app.backend.client
        connection.execute_command("PING")
        yield ok("results: connection", "Redis answers")
        yield from check_server(connection, "results")
        yield check_latency(connection, "results")
    except (redis.RedisError, OperationalError, OSError) as error:
        yield _unreachable("results", "result_url", error)
    except (TypeError, ValueError) as error:
        yield _unusable_url("results", "result_url", error)


def _fleet(app: Celery, settings: Settings) -> list[DoctorFinding]:
    try:
        return check_fleet(read_status(app, settings))
    except BrokerUnavailable as error:
        refused = next((e for e in _causes(error) if isinstance(e, redis.ResponseError)), None)
        if isinstance(refused, redis.exceptions.NoPermissionError):
            raise refused from None
        return [_unreachable("workers", "broker_url", error)]


def _unusable_url(name: str, setting: str, error: Exception) -> DoctorFinding:
    return problem(
        f"{name}: connection",
        f"the URL cannot be used ({type(error).__name__})",
        f"correct {setting}: scheme://user:password@host:port/database, and options after a ?",
    )


def _unreachable(name: str, setting: str, error: BaseException) -> DoctorFinding:
    """Return why Redis cannot be used, without what an error may quote."""
    causes = list(_causes(error))
    check = f"{name}: connection"
    if found := next((e for e in causes if isinstance(e, ssl.SSLCertVerificationError)), None):
        return problem(
            check,
            f"the certificate of Redis is not accepted: {found.verify_message}",
            "set tls_ca_file to the authority that has signed it, and use the name that is in it",
        )
    if any(isinstance(e, ssl.SSLError) for e in causes):
        return problem(
            check,
            "TLS does not work",
            f"check that {setting} has redis:// or rediss:// as this Redis needs, and the files "
            "of tls_cert_file and tls_key_file",
        )
    if any(word in str(e) for e in causes for word in _PASSWORD_WORDS):
        return problem(
            check,
            "Redis does not accept user and password",
            f"correct them in {setting} or redis_password_file",
        )
    kinds = [type(e).__name__ for e in causes if isinstance(e, OSError)]
    advice = next(filter(None, map(how_to_start_redis, causes)), None)
    return problem(
        check,
        f"Redis does not answer ({kinds[-1] if kinds else type(error).__name__})",
        f"{advice}; or correct {setting}"
        if advice
        else f"check that it runs, that this host may reach it, and {setting}",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _tls(settings: Settings) -> DoctorFinding:
    urls = {
        name: secret.get_secret_value()
        for name, secret in (
            ("broker_url", settings.broker_url),
            ("result_url", settings.result_url),
        )
        if secret is not None
    }
    if settings.tls_insecure_skip_verify:
        return warning(
            "TLS",
            "certificates are not verified (tls_insecure_skip_verify)",
            "set tls_ca_file, and turn it off: a program on the network can pose as Redis",
        )
    plain = [name for name, url in urls.items() if _crosses_network(url)]
    if plain:
        return warning(
            "TLS",
            f"{', '.join(plain)} without TLS: passwords and texts cross the network in the clear",
            "use rediss://, or a network that is private",
        )
    return ok("TLS", "verified, or not needed on this host")


def _crosses_network(url: str) -> bool:
    first = url.split(";", maxsplit=1)[0]
    try:
        return first.startswith("redis://") and urlsplit(first).hostname not in _LOCAL_HOSTS
    except ValueError:
        return False


def _settings_in_force(settings: Settings, origins: dict[str, str]) -> Iterator[SettingInForce]:
    for name, origin in origins.items():
        if origin != "default":
            shown = _shown(getattr(settings, name))
            yield SettingInForce(name=name, value=shown, origin=origin)


def _shown(value: Any) -> str:
    """Return a value without secrets."""
    if isinstance(value, SecretStr):
        return _shown_urls(value.get_secret_value())
    if isinstance(value, tuple):
        return f"{len(value)} set"
    if isinstance(value, dict):  # Its values may be passwords.
        return ", ".join(sorted(map(str, value)))
    return str(value)


def _shown_urls(urls: str) -> str:
    """Return URLs without what stands before the host, and without options: both may be secret."""
    if "://" not in urls:
        return "set"
    chunks = []
    for url in urls.split(";"):
        address, _, options = _USER.sub("://***@", url).partition("?")
        chunks.append(f"{address}?***" if options else address)
    return ";".join(chunks)
