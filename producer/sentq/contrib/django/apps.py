"""The application `sentq` in a Django project."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.core.signals import setting_changed

from sentq.contrib.django.checks import check_broker_is_set, check_settings
from sentq.contrib.django.clients import forget_clients

__all__ = ["SentqConfig"]


class SentqConfig(AppConfig):
    """Registers the checks of settings; has no models."""

    name = "sentq.contrib.django"
    label = "sentq"
    verbose_name = "sentq"

    def ready(self) -> None:
        """Register the checks, and follow settings that tests override."""
        checks.register(check_settings)
        checks.register(check_broker_is_set, deploy=True)
        setting_changed.connect(forget_clients)
