"""The model, the address and the token of calls to the Hub, from the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentq.errors import SettingsError
from sentq_worker.engine.base import ModelUnavailable
from sentq_worker.providers.hub.target import hub_model, make_target, refuse_readable_token
from sentq_worker.settings import HubSettings, WorkerSettings

TOKEN = "hf_CANARYtoken"


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.mark.parametrize(
    ("worker", "hub", "name"),
    [
        (WorkerSettings(model="owner/local"), HubSettings(model="owner/hub"), "owner/hub"),
        (WorkerSettings(model="owner/local"), HubSettings(), "owner/local"),
        (
            WorkerSettings(model="./folder"),
            HubSettings(endpoint="https://user:secret@host.example/path?key=secret"),
            "host.example/path",
        ),
        (WorkerSettings(), HubSettings(endpoint="https://host.example/path"), "host.example/path"),
    ],
)
def test_the_model_has_a_name_without_secrets(
    worker: WorkerSettings, hub: HubSettings, name: str
) -> None:
    assert hub_model(worker, hub) == name


@pytest.mark.parametrize("model", [None, "./folder", "/folder/model", "~/model", "name"])
def test_a_folder_is_not_a_model_of_the_hub(model: str | None) -> None:
    with pytest.raises(SettingsError, match="SENTQ_WORKER_HUB_MODEL"):
        hub_model(WorkerSettings(model=model), HubSettings())


def test_the_address_is_that_of_the_router_or_of_the_endpoint() -> None:
    router = make_target(HubSettings(router="https://router.example/"), "owner/model")
    assert (router.url, router.is_looked_up) == ("https://router.example/models/owner/model", True)
    endpoint = make_target(HubSettings(endpoint="https://host.example/path"), "owner/model")
    assert (endpoint.url, endpoint.is_looked_up) == ("https://host.example/path", False)


def test_the_token_comes_from_the_file_or_the_variable(tmp_path: Path) -> None:
    target = make_target(HubSettings(), "owner/model")
    assert target.token is not None
    assert target.token.get_secret_value() == TOKEN
    assert TOKEN not in repr(target)
    file = tmp_path / "token"
    file.write_text("hf_other\n", encoding="utf-8")
    target = make_target(HubSettings(token_file=file), "owner/model")
    assert target.token is not None
    assert target.token.get_secret_value() == "hf_other"


@pytest.mark.parametrize("content", ["two words", "two\nlines", "hf_tökén", b"\xff"])
def test_a_damaged_token_is_rejected_and_not_quoted(content: str | bytes, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ModelUnavailable, match="token") as rejected:
        make_target(HubSettings(token_file=file), "owner/model")
    assert str(content) not in str(rejected.value)


def test_only_an_endpoint_may_be_called_without_a_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch()
    with pytest.raises(ModelUnavailable, match="HF_TOKEN"):
        make_target(HubSettings(token_file=file), "owner/model")
    endpoint = HubSettings(token_file=file, endpoint="http://host.example")
    assert make_target(endpoint, "owner/model").token is None


def test_a_token_is_not_sent_without_tls_to_another_machine(tmp_path: Path) -> None:
    for setting in ("router", "endpoint"):
        for host in (
            "host.example",
            "127.0.0.1.example",
            "localhost.example",
            "10.0.0.1",
        ):
            settings = HubSettings.model_validate({setting: f"http://{host}/path"})
            with pytest.raises(SettingsError, match=rf"worker\.hub\.{setting} must be") as refused:
                refuse_readable_token(settings)
            assert TOKEN not in str(refused.value)
        for address in ("https://host.example", "http://127.0.0.1:8", "http://[::1]:8/x"):
            refuse_readable_token(HubSettings.model_validate({setting: address}))
    file = tmp_path / "token"
    file.touch()
    refuse_readable_token(HubSettings(token_file=file, endpoint="http://host.example"))
