"""Settings: `SENTQ_*` variables override a TOML file, which overrides the defaults.

Unknown keys are rejected. The file is optional; the caller names it (`--config`), or `SENTQ_CONFIG`
does. Its table `[worker]`, and variables that start with `SENTQ_WORKER_`, belong to the worker:
`sentq_worker.settings` reads them with the same code, and the client ignores them. `[gateway]` and
`SENTQ_GATEWAY_` are those of `sentq.gateway.settings`, `[webhooks]` and `SENTQ_WEBHOOKS_` those of
`sentq.webhooks.settings`. So one file and one environment can serve all of them.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, SettingsConfigDict

from sentq.contract import (
    MAX_BYTES_PER_MESSAGE,
    MAX_CHARS_PER_TEXT,
    MAX_TEXTS_PER_JOB,
    Limits,
)
from sentq.errors import SettingsError
from sentq.wire.sealing import parse_key

__all__ = ["CONFIG_VARIABLE", "LayeredSettings", "Settings", "explained", "split_at_commas"]

#: The variable that names the TOML file. Not a setting itself.
CONFIG_VARIABLE = "SENTQ_CONFIG"

#: A prefix that no variable of an environment can have.
_NO_VARIABLES = "\0"

#: What an encrypted message holds beside the encrypted texts, and the smallest useful limit.
_ENCRYPTION_OVERHEAD_BYTES = 512
_MIN_ENCRYPTED_MESSAGE_BYTES = 2048

_REDIS_SCHEMES = ("redis://", "rediss://", "redis+socket://", "sentinel://")

#: Transport options that say which master is meant, and nothing of keys or databases.
_SENTINEL_OPTIONS = {"master_name", "min_other_sentinels", "sentinel_kwargs"}

#: Schemes that are written in place of another one.
_OTHER_SCHEMES = {
    **dict.fromkeys(("http", "tcp", "valkey"), "redis"),
    **dict.fromkeys(("https", "tls", "valkeys"), "rediss"),
    "unix": "redis+socket",
}

#: How similar a scheme is to one of Redis that it was probably meant to be, from 0 to 1.
_SIMILAR = 0.75

_EXAMPLE_URL = "redis://HOST:6379/0"

#: An address without a scheme, and without a password.
_ADDRESS = re.compile(r"[\w.-]+(:\d+)?(/\d*)?", re.ASCII)

#: A host, as a name or as an address of IPv6, and what follows a colon.
_HOST_AND_PORT = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*):(.+)", re.DOTALL)


class LayeredSettings(BaseSettings):
    """The way in which client and worker load settings. Subclasses name their sources."""

    model_config = SettingsConfigDict(
        env_prefix="SENTQ_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    #: The TOML table of these settings, with dots; None for the top level.
    toml_table: ClassVar[str | None] = None
    #: TOML tables, and prefixes of variables, that other settings classes check.
    foreign_tables: ClassVar[frozenset[str]] = frozenset()
    foreign_prefixes: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def load(cls, file: Path | None = None, **overrides: object) -> Self:
        """Read the settings, once.

        Args:
            file: The TOML file; None for the one that `SENTQ_CONFIG` names, if any.
            overrides: Values that override file and environment; None counts as not given.

        Raises:
            SettingsError: A key is unknown (the message names the nearest known one), a value
                does not fit, or the file cannot be read. The message has everything that is wrong,
                in file, environment and overrides, and says where each value stands.
        """
        loaded = cls._loaded(file, overrides)
        if isinstance(loaded, list):
            raise SettingsError(explained(loaded))
        return loaded

    @classmethod
    def load_over(cls, settings: Self | None, **overrides: object) -> Self:
        """Return settings with overrides; without any settings, read them as `load` does.

        Raises:
            SettingsError: As `load` does.
        """
        given: dict[str, Any] = dict(overrides)
        if settings is None:
            return cls.load(**given)
        if not given:
            return settings
        return cls.load(**(settings.model_dump(exclude_unset=True) | given))

    @classmethod
    def problems(cls, file: Path | None = None, **overrides: object) -> list[str]:
        """Return what `load` complains about, one sentence for each; empty if nothing is wrong."""
        loaded = cls._loaded(file, overrides)
        return loaded if isinstance(loaded, list) else []

    @classmethod
    def _loaded(cls, file: Path | None, overrides: Mapping[str, object]) -> Self | list[str]:
        """Return the settings, or everything that is wrong with them."""
        if file is None and os.environ.get(CONFIG_VARIABLE):
            file = Path(os.environ[CONFIG_VARIABLE])
        problems = cls._unknown_variables(os.environ)
        from_file: dict[str, object] = {}
        if file is not None:
            try:
                from_file = cls._read_file(file)
            except SettingsError as error:
                problems.append(str(error))
        problems += cls._unknown_keys(from_file, place=f"{file}: ")
        known = {key: value for key, value in from_file.items() if key in cls.model_fields}
        variables = _Variables(cls)
        from_environment = variables()
        problems += variables.problems
        problems += cls._unknown_keys(overrides)
        given = {
            key: value
            for key, value in overrides.items()
            if value is not None and key in cls.model_fields
        }
        origins = dict.fromkeys(known, str(file)) | {
            key: cls.variable(key) for key in from_environment
        }
        origins |= dict.fromkeys(given, "")
        settings, invalid = cls._validated(known | from_environment | given, origins)
        problems += invalid
        return problems if problems or settings is None else settings

    @classmethod
    def _validated(
        cls, values: dict[str, Any], origins: Mapping[str, str]
    ) -> tuple[Self | None, list[str]]:
        """Return the settings if the values are valid, and what is wrong with them.

        Rules about several settings apply only to values that are valid by themselves: these are
        validated once more, without the others.
        """
        try:
            # pydantic would read the variables once more, those that are invalid too.
            return cls(_env_prefix=_NO_VARIABLES, **values), []
        except ValidationError as error:
            problems = cls._explain(error, origins)
            invalid = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
        if invalid:
            rest = {key: value for key, value in values.items() if key not in invalid}
            problems += cls._validated(rest, origins)[1]
        return None, problems

    @classmethod
    def variable(cls, key: str) -> str:
        """Return the environment variable of a setting."""
        return cls.model_config["env_prefix"] + key.upper()

    @classmethod
    def origins(cls, file: Path | None = None, **overrides: object) -> dict[str, str]:
        """Return where each setting is from: `option`, `environment`, `file` or `default`.

        Args:
            file, overrides: As for `load`, which has accepted them.
        """
        if file is None and os.environ.get(CONFIG_VARIABLE):
            file = Path(os.environ[CONFIG_VARIABLE])
        found = dict.fromkeys(cls.model_fields, "default")
        found |= dict.fromkeys(cls._read_file(file) if file else {}, "file")
        found |= dict.fromkeys(EnvSettingsSource(cls)(), "environment")
        return found | {key: "option" for key, value in overrides.items() if value is not None}

    @classmethod
    def _unknown_variables(cls, environ: Mapping[str, str]) -> list[str]:
        prefix, foreign = cls.model_config["env_prefix"], cls.foreign_prefixes
        problems = []
        for name in environ:
            if not name.startswith(prefix) or name == CONFIG_VARIABLE:
                continue
            if name.startswith(foreign):
                continue
            key = name.removeprefix(prefix).lower()
            if key not in cls.model_fields:
                match = _nearest(key, cls.model_fields)
                hint = f"did you mean {cls.variable(match)}?" if match else ""
                if foreign and not match:
                    hint = f"others start with {' or '.join(foreign)}"
                problems.append(f"{name} is not a setting; {hint}".rstrip("; "))
        return problems

    @classmethod
    def _unknown_keys(cls, values: Iterable[str], *, place: str = "") -> list[str]:
        problems = []
        where = f"[{cls.toml_table}] " if cls.toml_table else ""
        for key in values:
            if key not in cls.model_fields:
                match = _nearest(key, cls.model_fields)
                hint = f"did you mean {match}?" if match else ""
                problems.append(f"{place}{where}{key} is not a setting; {hint}".rstrip("; "))
        return problems

    @classmethod
    def _read_file(cls, file: Path) -> dict[str, object]:
        try:
            document = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the settings file {file}: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{file} is not valid TOML: {error}") from error
        table: object = document
        for name in (cls.toml_table or "").split("."):
            table = table.get(name, {}) if name and isinstance(table, dict) else table
        if not isinstance(table, dict):
            raise SettingsError(f"{file}: [{cls.toml_table}] must be a table")
        return {key: value for key, value in table.items() if key not in cls.foreign_tables}

    @classmethod
    def _explain(cls, error: ValidationError, origins: Mapping[str, str]) -> list[str]:
        lines = []
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            place = [cls.toml_table] if cls.toml_table else []
            key = ".".join([*place, *map(str, problem["loc"])]) or "settings"
            origin = origins.get(str(problem["loc"][0])) if problem["loc"] else None
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{key}{f' ({origin})' if origin else ''}: {message}")
        return lines


class _Variables(EnvSettingsSource):
    """The environment; a table or list that is not JSON is a problem beside the others."""

    def __init__(self, settings: type[LayeredSettings]) -> None:
        super().__init__(settings)
        self.problems: list[str] = []
        self._settings = settings

    def prepare_field_value(
        self,
        field_name: str,
        field: FieldInfo,
        value: Any,
        value_is_complex: bool,  # noqa: FBT001 - the signature is pydantic's
    ) -> Any:
        """Return the value of a variable; None if it is not JSON."""
        try:
            return super().prepare_field_value(field_name, field, value, value_is_complex)
        except ValueError:
            self.problems.append(f"{self._settings.variable(field_name)}: must be JSON")
            return None


def explained(problems: Iterable[str]) -> str:
    """Return one message for all problems, each of them once."""
    different = list(dict.fromkeys(problems))
    if len(different) == 1:
        return different[0]
    return "\n".join([f"{len(different)} settings are wrong:", *(f"  {one}" for one in different)])


class Settings(LayeredSettings):
    """The settings that client and worker share, and the time-outs for Redis."""

    foreign_tables = frozenset({"gateway", "webhooks", "worker"})
    foreign_prefixes = ("SENTQ_WORKER_", "SENTQ_GATEWAY_", "SENTQ_WEBHOOKS_")

    broker_url: Annotated[
        SecretStr, Field(description="Where jobs are sent: a Celery broker URL.")
    ] = SecretStr("redis://127.0.0.1:6379/0")
    result_url: Annotated[
        SecretStr | None,
        Field(
            description="Where outcomes are stored: a Redis URL. If it is not set, the broker's "
            "Redis is used."
        ),
    ] = None
    redis_password_file: Annotated[
        Path | None,
        Field(
            description="A file with the password of Redis, for `broker_url` and `result_url` if "
            "they contain none."
        ),
    ] = None
    transport_options: Annotated[
        dict[str, Any],
        Field(
            description="Options of Celery's Redis transport and result backend beyond the URL, "
            "such as `global_keyprefix`, or Sentinel's `master_name`."
        ),
    ] = Field(default_factory=dict)
    tls_ca_file: Annotated[
        Path | None,
        Field(
            description="A file with the certificates of authorities (PEM) that have signed the "
            "server's certificate, in addition to those of the system."
        ),
    ] = None
    tls_cert_file: Annotated[
        Path | None,
        Field(description="A file with the certificate (PEM) that this program shows to Redis."),
    ] = None
    tls_key_file: Annotated[
        Path | None,
        Field(
            description="A file with the key of that certificate (PEM, not encrypted). If it is "
            "not set, the key is in `tls_cert_file`."
        ),
    ] = None
    tls_insecure_skip_verify: Annotated[
        bool,
        Field(
            description="Accept every certificate and host name. A program on the network can "
            "then pose as Redis, and read passwords and texts. Each start logs a warning."
        ),
    ] = False
    queue: Annotated[str, Field(min_length=1, description="The queue of single jobs.")] = "sentq"
    bulk_queue: Annotated[
        str,
        Field(
            min_length=1,
            description="The queue of bulk work. Workers take from it only while the queue of "
            "single jobs is empty.",
        ),
    ] = "sentq.bulk"
    encryption_keys: Annotated[
        tuple[SecretStr, ...],
        NoDecode,
        Field(
            description="Keys that encrypt the texts of jobs before they reach Redis, the same for "
            "clients and workers: base64 of 32 random bytes each, with a name or without "
            "(`2026-11:q83v…`), separated by commas in the environment. The first key encrypts, "
            "all of them decrypt. They need the extra `sentq[encryption]`."
        ),
    ] = ()
    encryption_keys_file: Annotated[
        Path | None,
        Field(
            description="A file that contains the keys, one on each line, in place of "
            "`encryption_keys`."
        ),
    ] = None
    key_namespace: Annotated[
        str,
        Field(
            max_length=64,
            pattern=r"^[A-Za-z0-9_.-]*$",
            description="Stands before the idempotency keys of this client, so that applications "
            "that share a Redis never get each other's jobs. Access rules can then keep each "
            "producer to its own keys, `sentq-key-<key_namespace>:*`. Letters, digits, `_`, `.` "
            "and `-`.",
        ),
    ] = ""
    max_queued_jobs: Annotated[
        int | None,
        Field(
            ge=1,
            description="Most jobs in each queue. A full queue rejects further jobs with "
            "`QueueFull`. If it is not set, there is no limit. The broker must be Redis.",
        ),
    ] = None
    max_queued_bytes: Annotated[
        int | None,
        Field(
            ge=2 * MAX_BYTES_PER_MESSAGE,
            description="Most bytes of the messages in each queue. A full queue rejects further "
            "jobs with `QueueFull`. If it is not set, there is no limit. The broker must be Redis.",
        ),
    ] = None
    max_eta_s: Annotated[
        float,
        Field(
            ge=1,
            le=366 * 24 * 60 * 60,
            description="How far away the time may be at which a job is due (`delay`, `at`), in "
            "seconds. A later one is refused with `EtaTooFar`. Workers have a limit of their own "
            "(`worker.max_eta_s`).",
        ),
    ] = 30 * 24 * 60 * 60
    result_ttl_s: Annotated[
        int, Field(ge=1, description="How long Redis keeps an outcome, in seconds.")
    ] = 24 * 60 * 60
    dead_letter_ttl_s: Annotated[
        int, Field(ge=1, description="How long Redis keeps a dead letter, in seconds.")
    ] = 14 * 24 * 60 * 60
    dead_letter_max_bytes: Annotated[
        int,
        Field(
            ge=2 * MAX_BYTES_PER_MESSAGE,
            description="Most bytes that Redis uses for dead letters. The oldest ones are removed "
            "first.",
        ),
    ] = 64 * 1024 * 1024
    visibility_timeout_s: Annotated[
        int,
        Field(
            ge=1,
            description="How long after the death of a worker its jobs go to another worker, in "
            "seconds. A live worker renews the leases of its jobs, however long they take.",
        ),
    ] = 30
    connect_timeout_s: Annotated[
        float, Field(gt=0, description="How long a connection may take to open, in seconds.")
    ] = 1.5
    socket_timeout_s: Annotated[
        float, Field(gt=0, description="How long Redis may take to reply, in seconds.")
    ] = 3.0
    log_format: Annotated[
        Literal["text", "json"],
        Field(
            description="How workers, `sentq exporter`, `sentq gateway` and `sentq webhooks "
            "deliver` log: `text`, or `json`, an object on each line with the ids of jobs and "
            "traces as fields. No line has a text of a job."
        ),
    ] = "text"
    texts_per_job: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_TEXTS_PER_JOB,
            description="Most texts in a job. It may be lower than the contract's limit, which is "
            "the default.",
        ),
    ] = MAX_TEXTS_PER_JOB
    chars_per_text: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_CHARS_PER_TEXT,
            description="Most characters in a text. It may be lower than the contract's limit, "
            "which is the default.",
        ),
    ] = MAX_CHARS_PER_TEXT
    bytes_per_message: Annotated[
        int,
        Field(
            ge=1024,
            le=MAX_BYTES_PER_MESSAGE,
            description="Most bytes of a job's message. It may be lower than the contract's limit, "
            "which is the default. With `encryption_keys`, the texts may have three quarters of "
            "it, because the encrypted form is larger.",
        ),
    ] = MAX_BYTES_PER_MESSAGE

    @field_validator("encryption_keys", mode="before")
    @classmethod
    def _keys_are_separated_by_commas(cls, keys: object) -> object:
        return split_at_commas(keys)

    @field_validator("encryption_keys")
    @classmethod
    def _keys_are_valid(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            parse_key(key.get_secret_value())
        return keys

    @field_validator("broker_url", "result_url")
    @classmethod
    def _url_has_the_right_form(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        first, *more = url.get_secret_value().split(";")
        for part in [first, *(each for each in more if "://" in each)]:
            problem = _problem_of_url(part)
            if problem is not None:
                raise ValueError(problem)
        return url

    @field_validator("result_url")
    @classmethod
    def _result_url_is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(_REDIS_SCHEMES):
            raise ValueError(f"must start with one of {', '.join(_REDIS_SCHEMES)}")
        return url

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        wrong = []
        is_limited = self.max_queued_jobs is not None or self.max_queued_bytes is not None
        if is_limited and not self.broker_is_redis:
            wrong.append("max_queued_jobs and max_queued_bytes need a broker that is Redis")
        if self.tls_key_file is not None and self.tls_cert_file is None:
            wrong.append("tls_key_file needs tls_cert_file")
        if self.encryption_keys and self.encryption_keys_file is not None:
            wrong.append("set encryption_keys or encryption_keys_file, not both")
        if self.is_encrypted and self.bytes_per_message < _MIN_ENCRYPTED_MESSAGE_BYTES:
            wrong.append(
                "bytes_per_message must be at least "
                f"{_MIN_ENCRYPTED_MESSAGE_BYTES} with encryption_keys"
            )
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def is_encrypted(self) -> bool:
        """Whether jobs are encrypted."""
        return bool(self.encryption_keys) or self.encryption_keys_file is not None

    @property
    def sender_limits(self) -> Limits:
        """The limits of a job that this client sends.

        Encrypted texts are base64, four bytes for each three. The encrypted form of a job that
        keeps to these limits fits into `bytes_per_message`.
        """
        if not self.is_encrypted:
            return self.limits
        size_bytes = (self.bytes_per_message - _ENCRYPTION_OVERHEAD_BYTES) * 3 // 4
        return self.limits.model_copy(update={"bytes_per_message": size_bytes})

    @property
    def limits(self) -> Limits:
        """The limits that apply to a job."""
        return Limits(
            texts_per_job=self.texts_per_job,
            chars_per_text=self.chars_per_text,
            bytes_per_message=self.bytes_per_message,
        )

    @property
    def result_backend_url(self) -> SecretStr:
        """The URL of the Redis that keeps the outcomes.

        Raises:
            SettingsError: The broker is not Redis and no `result_url` is set.
        """
        if self.result_url is not None:
            return self.result_url
        if self.broker_is_redis:
            return self.broker_url
        raise SettingsError(
            "the broker is not Redis: set SENTQ_RESULT_URL to the Redis that keeps the outcomes"
        )

    @property
    def broker_is_redis(self) -> bool:
        """Whether the broker is Redis."""
        return self.broker_url.get_secret_value().startswith(_REDIS_SCHEMES)

    @property
    def is_single_redis(self) -> bool:
        """Whether jobs and outcomes are in one database of one Redis, without a key prefix. It may
        be behind Sentinel."""
        broker = self.broker_url.get_secret_value()
        return (
            self.broker_is_redis
            and self.transport_options.keys() <= _SENTINEL_OPTIONS
            and self.result_backend_url.get_secret_value() == broker
        )


def _problem_of_url(url: str) -> str | None:
    """Return what is wrong with the form of a URL, without quoting what may be a password."""
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        if _ADDRESS.fullmatch(url.strip()):
            return f"this is not a URL: write redis://{url.strip()}{'' if '/' in url else '/0'}"
        return f"this is not a URL: write it like {_EXAMPLE_URL}"
    if scheme.lower() in _OTHER_SCHEMES:
        return f"must start with {_OTHER_SCHEMES[scheme.lower()]}://, not {scheme.lower()}://"
    written = f"{scheme}://"
    if written not in _REDIS_SCHEMES and difflib.get_close_matches(
        written.lower(), _REDIS_SCHEMES, cutoff=_SIMILAR
    ):
        return f"must start with one of {', '.join(_REDIS_SCHEMES)}"
    host = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    with_port = _HOST_AND_PORT.fullmatch(host) if scheme in ("redis", "rediss") else None
    if with_port is not None and not re.fullmatch("[0-9]{1,5}", with_port[1]):
        return (
            f"the port must be a number: write it like {_EXAMPLE_URL}, with the special characters "
            "of a password percent-encoded"
        )
    return None


def split_at_commas(value: object) -> object:
    """Return the parts of a string between commas and white space; anything else as it is."""
    if isinstance(value, str):
        return [part for part in re.split(r"[\s,]+", value) if part]
    return value


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)
