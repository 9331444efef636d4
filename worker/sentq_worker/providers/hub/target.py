"""Which model is called at the Hub, at which address, and with which token."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from sentq.errors import SettingsError
from sentq_worker.engine.base import ModelUnavailable
from sentq_worker.settings import HubSettings, Transform, WorkerSettings

__all__ = ["Target", "hub_model", "make_target", "refuse_readable_token"]


@dataclass(frozen=True, slots=True)
class Target:
    """The model that is called, its address, and the account that calls it.

    Texts are posted to `url`: the router's address of the model, or a dedicated endpoint. The
    client gets it whole, so that it does not ask the Hub before each call for the model's task.
    `is_looked_up` asks for the task once, at the start.
    """

    model: str
    url: str
    token: SecretStr | None = None
    bill_to: str | None = None
    function_to_apply: Transform | None = None
    is_multi_label: bool = False
    is_looked_up: bool = False


def make_target(settings: HubSettings, model: str) -> Target:
    """Make the target that the settings describe.

    Raises:
        ModelUnavailable: A token is needed and missing, or it cannot be read.
    """
    return Target(
        model,
        settings.endpoint or f"{settings.router.rstrip('/')}/models/{model}",
        _token(settings),
        bill_to=settings.bill_to,
        function_to_apply=settings.function_to_apply,
        is_multi_label=settings.multi_label,
        is_looked_up=settings.endpoint is None,
    )


def refuse_readable_token(settings: HubSettings) -> None:
    """Refuse an address to which the token and the texts would be sent without TLS.

    Raises:
        SettingsError: There is a token, and the address is http:// and of another machine.
    """
    if _is_private(settings.endpoint or settings.router):
        return
    try:
        token = _token(settings)
    except ModelUnavailable:
        return  # The worker says so when it starts.
    if token is not None:
        name = "router" if settings.endpoint is None else "endpoint"
        raise SettingsError(
            f"worker.hub.{name} must be an https:// URL: a token is set, and http:// would send it "
            "readable over the network"
        )


def hub_model(worker: WorkerSettings, settings: HubSettings) -> str:
    """Return the model's name: its id, or the endpoint's address without any secret part.

    Raises:
        SettingsError: No setting names a model.
    """
    if settings.model is not None:
        return settings.model
    if worker.model is not None and _is_model_id(worker.model):
        return worker.model
    if settings.endpoint is not None:
        address = settings.endpoint.partition("?")[0]
        return address.rpartition("@")[2].partition("://")[2] or address.rpartition("@")[2]
    raise SettingsError(
        "the provider policy needs a model at the Hub: set SENTQ_WORKER_HUB_MODEL to its id, such "
        "as owner/name, or SENTQ_WORKER_HUB_ENDPOINT to the URL of a dedicated endpoint"
    )


def _is_private(url: str) -> bool:
    """Return whether no other machine can read what is sent to this address."""
    parts = urlsplit(url)
    if parts.scheme.lower() == "https" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _is_model_id(model: str) -> bool:
    return model.count("/") == 1 and not model.startswith((".", "/", "~"))


def _token(settings: HubSettings) -> SecretStr | None:
    from huggingface_hub import get_token

    token = _read_token(settings.token_file) if settings.token_file else get_token() or ""
    if token and (not token.isascii() or not token.isprintable() or " " in token):
        raise ModelUnavailable("the Hub's token is not one line of printable characters")
    if not token and settings.endpoint is None:
        raise ModelUnavailable(
            "the Hub needs a token: set HF_TOKEN, or SENTQ_WORKER_HUB_TOKEN_FILE to a file with it"
        )
    return SecretStr(token) if token else None


def _read_token(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelUnavailable(
            f"the token file {file} cannot be read: {type(error).__name__}"
        ) from None
