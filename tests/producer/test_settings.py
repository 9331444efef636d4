"""Settings: the precedence of their sources, and the errors of invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentq import Settings, SettingsError
from sentq_worker.settings import WorkerSettings


def _write(folder: Path, text: str) -> Path:
    file = folder / "sentq.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_arguments_override_variables_and_the_file_and_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _write(tmp_path, 'queue = "file"\nbulk_queue = "file"\nresult_ttl_s = 60\n')
    monkeypatch.setenv("SENTQ_QUEUE", "variable")
    monkeypatch.setenv("SENTQ_BULK_QUEUE", "variable")
    settings = Settings.load(file, queue="argument", bulk_queue=None)
    assert settings.queue == "argument"
    assert settings.bulk_queue == "variable"
    assert settings.result_ttl_s == 60
    assert settings.texts_per_job == 256


def test_the_file_can_be_named_by_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTQ_CONFIG", str(_write(tmp_path, 'queue = "named"\n')))
    assert Settings.load().queue == "named"


def test_one_file_serves_client_and_worker(tmp_path: Path) -> None:
    file = _write(tmp_path, 'queue = "q"\n[worker]\ndevice = "cpu"\nbatch_tokens = 512\n')
    assert Settings.load(file).queue == "q"
    assert WorkerSettings.load(file).batch_tokens == 512


def test_one_environment_serves_client_and_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTQ_QUEUE", "q")
    monkeypatch.setenv("SENTQ_WORKER_MODEL", "./m")
    assert Settings.load().queue == "q"
    assert WorkerSettings.load().model == "./m"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('brokr_url = "redis://x"', "did you mean broker_url"),
        ("[limits]\nx = 1", "limits is not a setting"),
        ("texts_per_job = 1000", "texts_per_job"),
        ('result_url = "postgresql://x"', "must start with"),
        ("queue = ", "not valid TOML"),
    ],
)
def test_a_wrong_key_or_value_in_the_file_is_rejected(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Settings.load(_write(tmp_path, toml))


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('[worker]\ndevise = "cpu"', "did you mean device"),
        ('[worker]\ndevice = "tpu"', "device"),
        ("worker = 3", "must be a table"),
    ],
)
def test_a_wrong_key_of_the_worker_is_rejected(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        WorkerSettings.load(_write(tmp_path, toml))


def test_a_misspelt_variable_is_rejected_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SENTQ_BROKER_ULR", "redis://x")
    with pytest.raises(SettingsError, match="did you mean SENTQ_BROKER_URL"):
        Settings.load()


def test_a_misspelt_variable_of_the_worker_is_left_to_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SENTQ_WORKER_MODLE", "x")
    Settings.load()
    with pytest.raises(SettingsError, match="did you mean SENTQ_WORKER_MODEL"):
        WorkerSettings.load()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        Settings.load(tmp_path / "none.toml")


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTQ_BROKER_URL", "redis://:hunter2@h/0")
    settings = Settings.load()
    assert "hunter2" not in repr(settings)
    assert settings.result_backend_url.get_secret_value() == "redis://:hunter2@h/0"


def test_a_broker_other_than_redis_needs_a_result_url() -> None:
    with pytest.raises(SettingsError, match="SENTQ_RESULT_URL"):
        _ = Settings.load(broker_url="amqp://h//").result_backend_url


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.load().queue = "other"  # type: ignore[misc]


@pytest.mark.parametrize("setting", ["broker_url", "result_url"])
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:6379", "write redis://localhost:6379/0"),
        ("127.0.0.1:7391", "write redis://127.0.0.1:7391/0"),
        ("queue/1", "write redis://queue/1"),
        (":hunter2@host:6379", "write it like redis://HOST:6379/0"),
        ("redis:/host", "write it like redis://HOST:6379/0"),
        ("", "write it like redis://HOST:6379/0"),
        ("reddis://host", "must start with one of redis://"),
        ("http://host:6379", "must start with redis://, not http://"),
        ("unix:///run/redis.sock", "must start with redis\\+socket://"),
        ("redis://host:63o79/0", "the port must be a number"),
        ("redis://:hunter2/x@host:6379/0", "percent-encoded"),
        ("sentinel://a:26379;redis://b:x", "the port must be a number"),
    ],
)
def test_a_malformed_url_is_an_error_that_shows_the_right_form(
    setting: str, url: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=f"{setting}.*{says}") as refused:
        Settings.load(None, **{setting: url})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        *("redis://host", "redis://user:secret@host", "rediss://:secret@host:6380/1?x=y"),
        *("redis://[::1]:6379/0", "redis://[::1]/0", "redis+socket:///run/redis.sock"),
        *("sentinel://a:26379;b:26379", "amqp://user:secret@host//", "sqs://", "memory://"),
    ],
)
def test_a_url_of_a_broker_is_accepted(url: str) -> None:
    assert Settings.load(broker_url=url).broker_url.get_secret_value() == url
