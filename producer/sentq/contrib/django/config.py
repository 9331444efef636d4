"""The settings of sentq in a Django project: the dictionary `SENTQ`.

SENTQ = {"BROKER_URL": "redis://queue:6379/0", "MAX_QUEUED_JOBS": 10_000}

Its keys are the names of docs/settings.md in capitals. They override environment and file.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings as project

from sentq.errors import SettingsError
from sentq.settings import Settings, explained

__all__ = ["NAME", "given_settings", "known_settings", "load_settings", "problems_of_keys"]

#: The name of the dictionary.
NAME: Final = "SENTQ"

_KEYS: Final = {name.upper(): name for name in Settings.model_fields}


def given_settings() -> object:
    """Return the value of `SENTQ`, which may be of any type; an empty dictionary without one."""
    return getattr(project, NAME, {})


def problems_of_keys(given: Mapping[object, object]) -> dict[str, str]:
    """Return what is wrong with the names of settings, each with a hint, which may be empty."""
    problems = {}
    for key in given:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key).upper(), _KEYS, n=1)
            problems[f"{key!r} is not a setting"] = f"Did you mean {near[0]!r}?" if near else ""
    return problems


def known_settings(given: Mapping[object, object]) -> dict[str, Any]:
    """Return the settings with a known name, by the name that `Settings` has for each."""
    return {_KEYS[str(key)]: value for key, value in given.items() if key in _KEYS}


def load_settings() -> Settings:
    """Return the settings of the project.

    Raises:
        SettingsError: `SENTQ` is no dictionary, or a setting is unknown or does not fit.
    """
    given = given_settings()
    if not isinstance(given, Mapping):
        raise SettingsError(f"{NAME} must be a dictionary, not {type(given).__name__}")
    if wrong := problems_of_keys(given):
        raise SettingsError(
            explained(f"{NAME}: {each}. {hint}".strip() for each, hint in wrong.items())
        )
    return Settings.load(**known_settings(given))
