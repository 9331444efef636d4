"""`manage.py sentq_status` and `sentq_dead`: as the commands of `sentq`, with the project's
settings."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from sentq import Client, ServiceStatus
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, dead_letter_fields
from tests.producer.contrib.django.conftest import Configure
from tests.support.ports import free_port
from tests.support.processes import RedisProcess


def _call(*arguments: str, code: int = 0) -> tuple[str, str]:
    """Run a command; return what it printed."""
    out, err = StringIO(), StringIO()
    if code:
        with pytest.raises((SystemExit, CommandError)) as caught:
            call_command(*arguments, stdout=out, stderr=err)
        error = caught.value
        assert (error.returncode if isinstance(error, CommandError) else error.code) == code
        return out.getvalue(), err.getvalue() + str(error)
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def _dead_letter(project: RedisProcess) -> str:
    with project.client() as redis:
        fields = dead_letter_fields(code="malformed", reason="r", message=b"CANARY")
        return str(redis.execute_command("XADD", DEAD_LETTERS_KEY, "*", *fields).decode())


def test_the_status_is_that_of_the_projects_redis(project: RedisProcess) -> None:
    with Client(broker_url=project.url) as client:
        client.submit_many(["a day"] * 3)
    printed, said = _call("sentq_status", code=3)
    assert "sentq       3" in printed
    assert "no worker reports: start one with sentq-worker" in said


def test_the_status_as_json_is_one_object(project: RedisProcess) -> None:
    printed, _ = _call("sentq_status", "--json", code=3)
    assert ServiceStatus.model_validate_json(printed).queues[0].name == "sentq"


def test_without_redis_the_error_is_one_line(configure: Configure) -> None:
    configure({"BROKER_URL": f"redis://127.0.0.1:{free_port()}/0"})
    _, said = _call("sentq_status", code=3)
    assert "Connection refused" in said


def test_dead_letters_are_listed_and_dropped(project: RedisProcess) -> None:
    entry = _dead_letter(project)
    printed, said = _call("sentq_dead", "list", "--json")
    assert json.loads(printed)["id"] == entry
    assert "1 dead letter: 1 malformed" in said
    assert "CANARY" not in printed + said
    _, said = _call("sentq_dead", "drop", "--code", "malformed", "--yes")
    assert "1 dropped" in said
    assert "0 dead letters" in _call("sentq_dead", "list")[1]


def test_dead_letters_are_shown_by_id(project: RedisProcess) -> None:
    printed, _ = _call("sentq_dead", "show", _dead_letter(project), "--show-text", "--json")
    assert "CANARY" in printed
    assert "does not exist" in _call("sentq_dead", "show", "1-1", code=1)[1]


@pytest.mark.usefixtures("project")
def test_wrong_arguments_are_explained() -> None:
    assert "No such option" in _call("sentq_dead", "list", "--lmit", "3", code=2)[1]
    assert "--all" in _call("sentq_dead", "retry", code=2)[1]
    with pytest.raises(CommandError, match="invalid choice: 'lsit'"):
        call_command("sentq_dead", "lsit")


def test_the_help_of_an_action_lists_its_options(project: RedisProcess) -> None:
    printed, _ = _call("sentq_dead", "list", "--help")
    assert "--newer-than" in printed
