"""System checks of the settings; `docs/django.md` lists their ids.

They read settings only, and no network: Django runs them before every command.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name

from sentq.contrib.django.config import (
    NAME,
    given_settings,
    known_settings,
    problems_of_keys,
)
from sentq.settings import Settings

__all__ = ["check_broker_is_set", "check_settings"]


def check_settings(**_: object) -> list[CheckMessage]:
    """Return everything that is wrong with the settings."""
    given = given_settings()
    if not isinstance(given, Mapping):
        message = f"{NAME} must be a dictionary, not {type(given).__name__}."
        return [Error(message, hint='Such as {"BROKER_URL": "redis://…"}.', id="sentq.E001")]
    names = [
        Error(f"{NAME}: {problem}.", hint=hint or None, id="sentq.E002")
        for problem, hint in problems_of_keys(given).items()
    ]
    values = [
        Error(f"{NAME}: {problem}", id="sentq.E003")
        for problem in Settings.problems(**known_settings(given))
    ]
    return names + values


def check_broker_is_set(**_: object) -> list[CheckMessage]:
    """Return a warning if the broker has its default address: `check --deploy` runs this."""
    given = given_settings()
    if not isinstance(given, Mapping) or Settings.problems(**known_settings(given)):
        return []
    settings = Settings.load(**known_settings(given))
    messages = []
    if "broker_url" not in settings.model_fields_set:
        message = f"{NAME} names no broker, so sentq uses {settings.broker_url.get_secret_value()}."
        hint = f'Set {NAME}["BROKER_URL"] or the variable SENTQ_BROKER_URL.'
        messages.append(Warning(message, hint=hint, id="sentq.W001"))
    if settings.tls_insecure_skip_verify:
        message = (
            f"{NAME}: tls_insecure_skip_verify is on: the certificate of Redis is not verified."
        )
        messages.append(Warning(message, hint="Set TLS_CA_FILE in its place.", id="sentq.W002"))
    return messages
