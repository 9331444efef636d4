"""Everything that is wrong with the settings is said at once, with the place of each value."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentq import Settings, SettingsError
from sentq_worker.settings import load_all


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "sentq.toml"
    file.write_text(
        'brokr_url = "redis://h"\ntexts_per_job = 1000\nquee = "q"\nresult_ttl_s = 60\n'
        '[worker]\ndevice = "tpu"\nthreds = 2\n[worker.hub]\nattempts = 0\n'
    )
    return file


def _problems(error: SettingsError) -> list[str]:
    first, *lines = str(error).splitlines()
    assert first == f"{len(lines)} settings are wrong:"
    return [line.strip() for line in lines]


def test_file_environment_and_arguments_are_checked_together(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTQ_BULK_QUEU", "b")
    monkeypatch.setenv("SENTQ_RESULT_TTL_S", "0")
    monkeypatch.setenv("SENTQ_TRANSPORT_OPTIONS", "{")
    monkeypatch.setenv("SENTQ_TLS_KEY_FILE", "key.pem")
    with pytest.raises(SettingsError) as caught:
        Settings.load(file, connect_timeout_s=-1, max_queued_jobs=7, broker_url="amqp://h")
    assert _problems(caught.value) == [
        "SENTQ_BULK_QUEU is not a setting; did you mean SENTQ_BULK_QUEUE?",
        f"{file}: brokr_url is not a setting; did you mean broker_url?",
        f"{file}: quee is not a setting; did you mean queue?",
        "SENTQ_TRANSPORT_OPTIONS: must be JSON",
        "result_ttl_s (SENTQ_RESULT_TTL_S): Input should be greater than or equal to 1",
        "connect_timeout_s: Input should be greater than 0",
        f"texts_per_job ({file}): Input should be less than or equal to 256",
        (
            "settings: max_queued_jobs and max_queued_bytes need a broker that is Redis; "
            "tls_key_file needs tls_cert_file"
        ),
    ]


def test_a_worker_says_what_is_wrong_in_all_its_settings(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTQ_WORKER_HUB_MODLE", "owner/name")
    with pytest.raises(SettingsError) as caught:
        load_all(file, own={"threads": 0})
    said = "\n".join(_problems(caught.value))
    for problem in (
        "did you mean broker_url?",
        "texts_per_job (",
        "[worker] threds is not a setting; did you mean threads?",
        "worker.device (",
        "worker.threads: ",
        "SENTQ_WORKER_HUB_MODLE is not a setting",
        "worker.hub.attempts (",
    ):
        assert problem in said


def test_a_file_that_cannot_be_read_is_named_once_beside_what_is_wrong_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTQ_RESULT_TTL_S", "0")
    with pytest.raises(SettingsError) as caught:
        load_all(tmp_path / "none.toml")
    missing, value = _problems(caught.value)
    assert missing.startswith("cannot read the settings file")
    assert "SENTQ_RESULT_TTL_S" in value


def test_settings_that_are_right_are_those_of_their_own_loaders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTQ_QUEUE", "q")
    file = tmp_path / "sentq.toml"
    file.write_text("[worker]\nthreads = 3\n[worker.hub]\nattempts = 2\n")
    shared, own, hub = load_all(file, own={"device": "cpu"})
    assert (shared.queue, own.threads, own.device, hub.attempts) == ("q", 3, "cpu", 2)


def test_an_unknown_argument_names_the_nearest_setting() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(broker_ulr="redis://h", secret="s")
    assert _problems(caught.value) == [
        "broker_ulr is not a setting; did you mean broker_url?",
        "secret is not a setting",
    ]
