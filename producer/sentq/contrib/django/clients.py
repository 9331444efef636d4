"""The settings and the clients of a Django project: one of each kind in each process."""

from __future__ import annotations

from typing import Final

from sentq.aio import AsyncClient
from sentq.client import Client
from sentq.contrib.django.config import NAME, load_settings
from sentq.contrib.processes import PerProcess
from sentq.settings import Settings

__all__ = ["forget_clients", "get_async_client", "get_client", "get_settings"]

_settings: Final = PerProcess(load_settings)
_client: Final = PerProcess(lambda: Client(get_settings()))
_async_client: Final = PerProcess(lambda: AsyncClient(get_settings()))


def get_settings() -> Settings:
    """Return the settings of this process. They are read when they are first used.

    Raises:
        SettingsError: A setting is unknown or does not fit.
    """
    return _settings.get()


def get_client() -> Client:
    """Return the client of this process. It is made when it is first used, and after a fork anew.

    Raises:
        SettingsError: A setting is unknown or does not fit.
    """
    return _client.get()


def get_async_client() -> AsyncClient:
    """Return the client of this process for asynchronous views, in any event loop.

    Raises:
        SettingsError: A setting is unknown or does not fit.
    """
    return _async_client.get()


def forget_clients(*, setting: str, **_: object) -> None:
    """Let the next clients have new settings. `override_settings` sends this signal in tests."""
    if setting == NAME:
        _settings.pop()
        client = _client.pop()
        if client is not None:
            client.close()
        _async_client.pop()
