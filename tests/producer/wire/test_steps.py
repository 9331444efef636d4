"""Steps and the driver that blocks: replies and errors reach the steps, and their value returns."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from sentq.connection.blocking import perform
from sentq.wire.steps import Deadline, Pause, Request, Steps, run_steps


def _two_requests() -> Steps[list[object]]:
    first = yield ("FIRST",)
    try:
        second = yield ("SECOND",)
    except LookupError as error:
        second = f"handled {error}"
    return [first, second]


def test_steps_receive_replies_and_errors_and_return_a_value() -> None:
    requests: list[Request] = []

    def perform_one(request: Request) -> Any:
        requests.append(request)
        if request == ("SECOND",):
            raise LookupError("of the driver")
        return "reply"

    assert run_steps(_two_requests(), perform_one) == ["reply", "handled of the driver"]
    assert requests == [("FIRST",), ("SECOND",)]


def test_an_error_that_steps_do_not_handle_is_raised() -> None:
    def perform_one(request: Request) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_steps(_two_requests(), perform_one)


def test_steps_without_a_request_return_at_once() -> None:
    def steps() -> Steps[int]:
        yield from ()
        return 5

    assert run_steps(steps(), perform=repr) == 5


def test_a_driver_refuses_an_unknown_request() -> None:
    with pytest.raises(TypeError, match="not a request: str"):
        perform(redis.Redis(), "GET key")
    assert perform(redis.Redis(), Pause(0)) is None


def test_a_deadline_passes_once_and_none_never_passes() -> None:
    assert Deadline(0).has_passed
    assert Deadline(-1).remaining_s == 0
    assert not Deadline(60).has_passed
    assert Deadline(None).remaining_s == float("inf")
