"""The dictionary `SENTQ`: its checks, and the clients that it configures."""

from __future__ import annotations

import pytest
from django.core import checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from sentq import SettingsError
from sentq.contrib.django import get_async_client, get_client
from sentq.contrib.django.config import load_settings
from tests.producer.contrib.django.conftest import Configure

URL = "redis://queue:6379/0"


def _ids(*, deploy: bool = False) -> list[str]:
    found = checks.run_checks(include_deployment_checks=deploy)
    return [str(each.id) for each in found if str(each.id).startswith("sentq.")]


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ({}, []),
        ({"BROKER_URL": URL, "MAX_QUEUED_JOBS": 10}, []),
        ([("BROKER_URL", URL)], ["sentq.E001"]),
        (None, ["sentq.E001"]),
        ({"BROKER_ULR": URL, 7: 8}, ["sentq.E002", "sentq.E002"]),
        ({"broker_url": URL}, ["sentq.E002"]),
        ({"TEXTS_PER_JOB": 0, "BROKER_URL": "queue:6379"}, ["sentq.E003", "sentq.E003"]),
    ],
)
def test_each_mistake_has_an_id(value: object, ids: list[str], configure: Configure) -> None:
    configure(value)
    assert _ids() == ids


def test_checks_say_what_to_write(configure: Configure) -> None:
    configure({"broker_url": URL, "TEXTS_PER_JOB": 1000})
    messages = [str(each) for each in checks.run_checks()]
    assert messages == [
        "?: (sentq.E002) SENTQ: 'broker_url' is not a setting.\n\tHINT: Did you mean 'BROKER_URL'?",
        "?: (sentq.E003) SENTQ: texts_per_job: Input should be less than or equal to 256",
    ]


def test_a_mistake_stops_every_command(configure: Configure) -> None:
    configure({"BROKER_ULR": URL})
    with pytest.raises(SystemCheckError, match=r"sentq\.E002"):
        call_command("check")


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ({}, ["sentq.W001"]),
        ({"BROKER_URL": URL}, []),
        ({"BROKER_URL": URL, "TLS_INSECURE_SKIP_VERIFY": True}, ["sentq.W002"]),
        ({"BROKER_ULR": URL}, ["sentq.E002", "sentq.W001"]),
        ({"TEXTS_PER_JOB": 0}, ["sentq.E003"]),
    ],
)
def test_a_deployment_is_warned(value: object, ids: list[str], configure: Configure) -> None:
    configure(value)
    assert _ids(deploy=True) == ids


def test_a_variable_names_the_broker_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTQ_BROKER_URL", URL)
    assert _ids(deploy=True) == []


def test_settings_override_the_environment(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTQ_BROKER_URL", "redis://other:6379/0")
    monkeypatch.setenv("SENTQ_QUEUE", "from-environment")
    configure({"BROKER_URL": URL})
    settings = load_settings()
    assert settings.broker_url.get_secret_value() == URL
    assert settings.queue == "from-environment"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"BROKER_ULR": URL}, "'BROKER_ULR' is not a setting. Did you mean 'BROKER_URL'?"),
        ({"NOTHING": 1}, "'NOTHING' is not a setting"),
        ([], "must be a dictionary, not list"),
    ],
)
def test_a_client_of_wrong_settings_is_refused(
    value: object, message: str, configure: Configure
) -> None:
    configure(value)
    with pytest.raises(SettingsError) as caught:
        get_client()
    assert message in str(caught.value)


def test_a_process_has_one_client_until_the_settings_change(configure: Configure) -> None:
    configure({"BROKER_URL": URL})
    first, first_async = get_client(), get_async_client()
    assert get_client() is first
    assert get_async_client() is first_async
    with override_settings(USE_TZ=False):
        assert get_client() is first
    with override_settings(SENTQ={"BROKER_URL": "redis://other:6379/0"}):
        assert get_client() is not first
        assert get_async_client() is not first_async
