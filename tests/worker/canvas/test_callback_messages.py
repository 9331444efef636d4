"""The messages of callbacks: as Celery sends them, with arguments as they were given, and only as
the rules allow."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from celery import Celery, signals
from kombu.utils.json import loads

from sentq import errors
from sentq.sending.callback import callback_of_batch, callback_of_jobs
from sentq_worker.broker.callbacks import CallbackMessage, JobEnd
from sentq_worker.broker.message import InvalidHeaders
from sentq_worker.celery_worker.canvas.callback_messages import CallbackMessages
from sentq_worker.celery_worker.canvas.callbacks import CallbacksOfJobs
from sentq_worker.celery_worker.canvas.follow import FollowRules
from sentq_worker.settings import WorkerSettings

JOB: Final = "0192f0c1-7d3c-7aaa-8bbb-0123456789ab"
OTHER_JOB: Final = "0192f0c1-7d3c-7aaa-8bbb-ffffffffffff"
DONE: Final = JobEnd(JOB, {"outcomes": [{"label": "positive"}]})


@pytest.fixture
def app() -> Celery:
    return Celery("shop", broker="memory://", set_as_current=False)


def _callbacks(app: Celery, *, is_single_redis: bool = True, **settings: Any) -> CallbacksOfJobs:
    rules = FollowRules(app, WorkerSettings.load(**settings))
    messages = CallbackMessages(app, rules, lambda *_: None)
    return CallbacksOfJobs(messages, is_single_redis=is_single_redis)


@pytest.fixture
def callbacks(app: Celery) -> CallbacksOfJobs:
    return _callbacks(app)


def _made(callbacks: CallbacksOfJobs, signature: Any, argument: str = "id", **end: Any) -> Any:
    """Return the message of a callback, with its decoded body."""
    header = callback_of_jobs(signature, argument, jobs=1)
    made = callbacks.message(header, DONE._replace(**end))
    assert isinstance(made, CallbackMessage)
    message = json.loads(made.message)
    message["body"] = json.loads(base64.b64decode(message["body"]))
    return message


@pytest.fixture
def published() -> Iterator[list[dict[str, Any]]]:
    """What Celery publishes, instead of publishing it."""
    found: list[dict[str, Any]] = []

    def listen(**message: Any) -> None:
        found.append(message)

    signals.before_task_publish.connect(listen)
    yield found
    signals.before_task_publish.disconnect(listen)


OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "a queue": {"queue": "shop"},
    "a priority": {"queue": "shop", "priority": 5},
    "limits": {"queue": "shop", "time_limit": 9, "soft_time_limit": 7},
    "headers": {"queue": "shop", "headers": {"traceparent": "00-1"}},
    "a shadow": {"queue": "shop", "shadow": "@sentq:id@ 100 %(id)s"},
    "an eta": {"queue": "shop", "eta": datetime.now(UTC) + timedelta(days=100)},
    "no queue": {},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_message_equals_the_one_that_celery_sends(
    app: Celery, callbacks: CallbacksOfJobs, published: list[Any], options: dict[str, Any]
) -> None:
    signature = app.signature(
        "store", args=("ümläut", 2**70, {"a": [1.5, None]}), kwargs={"b": "@"}
    )
    signature.set(**options)
    made = _made(callbacks, signature)
    with app.connection_for_write() as connection:
        celerys = signature.clone(args=(JOB,))
        celerys.apply_async(
            task_id=made["headers"]["id"], parent_id=JOB, root_id=JOB, connection=connection
        )
        sent = connection.default_channel._get(options.get("queue", "celery"))
    sent["body"] = json.loads(base64.b64decode(sent["body"]))
    for message in (made, sent):
        # The tag is unique; arguments may be private; `reply_to` is for Celery's RPC back end.
        del message["properties"]["delivery_tag"], message["properties"]["reply_to"]
        del message["headers"]["argsrepr"], message["headers"]["kwargsrepr"]
        message["headers"]["ignore_result"] = bool(message["headers"]["ignore_result"])
    assert made == sent
    assert published[0]["headers"]["task"] == "store"
    assert len(published) == 1, "Celery's signal is not sent for callbacks"


def test_the_first_argument_is_the_id_or_how_the_job_ended(
    app: Celery, callbacks: CallbacksOfJobs
) -> None:
    signature = app.signature("store", args=(7,)).set(queue="shop")
    assert _made(callbacks, signature)["body"][:2] == [[JOB, 7], {}]
    (found, own), _, _ = _made(callbacks, signature, "outcome")["body"]
    assert found == {
        "job_id": JOB,
        "outcome": {"outcomes": [{"label": "positive"}]},
        "error": None,
    }
    assert own == 7
    lost = ("WorkerLost", "3 workers were lost")
    (found, _), _, _ = _made(callbacks, signature, "outcome", outcome=None, error=lost)["body"]
    error = {"code": "WorkerLost", "message": "3 workers were lost"}
    assert found == {"job_id": JOB, "outcome": None, "error": error}
    immutable = signature.clone().set(immutable=True)
    for argument in ("id", "outcome"):
        assert _made(callbacks, immutable, argument)["body"][0] == [7]


def test_an_expired_job_has_a_callback_and_a_cancelled_one_has_none(
    app: Celery, callbacks: CallbacksOfJobs
) -> None:
    signature = app.signature("store").set(queue="shop")
    expired = ("TaskRevokedError", "expired")
    (found,), _, _ = _made(callbacks, signature, "outcome", outcome=None, error=expired)["body"]
    assert found["error"]["code"] == "JobExpired"
    header = callback_of_jobs(signature, "id", jobs=1)
    cancelled = JobEnd(JOB, None, ("TaskRevokedError", "revoked"))
    assert callbacks.message(header, cancelled) is None


def test_each_job_has_a_callback_of_its_own_id_which_is_the_same_each_time(
    app: Celery, callbacks: CallbacksOfJobs
) -> None:
    signature = app.signature("store").set(queue="shop")
    first, again = (_made(callbacks, signature) for _ in range(2))
    other = _made(callbacks, signature, job_id=OTHER_JOB)
    assert first == again
    assert first["headers"]["id"] != other["headers"]["id"]
    ids = {first["headers"]["id"], first["properties"]["correlation_id"]}
    assert ids == {first["properties"]["delivery_tag"]}
    named = _made(callbacks, signature.clone().set(task_id="mine"))
    assert named["headers"]["id"] == named["properties"]["correlation_id"] == "mine"


def test_monitors_are_shown_no_arguments(app: Celery, callbacks: CallbacksOfJobs) -> None:
    signature = app.signature("store", args=("CANARY",), kwargs={"a": "CANARY"}).set(queue="shop")
    for argument, shown in (("id", "(<id>, …)"), ("outcome", "(<outcome>, …)")):
        headers = _made(callbacks, signature, argument)["headers"]
        assert (headers["argsrepr"], headers["kwargsrepr"]) == (shown, "{…}")
        assert "CANARY" not in json.dumps(headers)


def test_arguments_of_types_that_json_does_not_have_reach_the_task(
    app: Celery, callbacks: CallbacksOfJobs
) -> None:
    at = datetime(2030, 1, 2, tzinfo=UTC)
    signature = app.signature("store", args=(at,), kwargs={"at": at}).set(queue="shop")
    made = callbacks.message(callback_of_jobs(signature, "id", jobs=1), DONE)
    assert made is not None
    body = loads(base64.b64decode(json.loads(made.message)["body"]))
    assert body[:2] == [[JOB, at], {"at": at}]


def test_what_follows_a_callback_is_kept(app: Celery, callbacks: CallbacksOfJobs) -> None:
    signature = app.signature("store").set(queue="shop")
    signature.link(app.signature("next").set(queue="shop"))
    signature.link_error(app.signature("failed").set(queue="shop"))
    embed = _made(callbacks, signature)["body"][2]
    assert [each["task"] for each in embed["callbacks"]] == ["next"]
    assert [each["task"] for each in embed["errbacks"]] == ["failed"]


def test_a_time_that_counts_from_now_counts_from_each_end(
    app: Celery, callbacks: CallbacksOfJobs
) -> None:
    for options in ({"countdown": 60}, {"expires": 60}):
        signature = app.signature("store").set(queue="shop", **options)
        (name,) = ("eta" if "countdown" in options else "expires",)
        first, second = (_made(callbacks, signature)["headers"][name] for _ in range(2))
        assert first < second


def test_a_signature_is_checked_once_while_arguments_differ(app: Celery) -> None:
    queues: list[str] = []
    rules = FollowRules(app, WorkerSettings.load())
    messages = CallbackMessages(app, rules, lambda _, queue: queues.append(queue))
    callbacks = CallbacksOfJobs(messages, is_single_redis=True)
    for number in range(100):
        signature = app.signature("store", args=(number,)).set(queue="shop", task_id=str(number))
        assert _made(callbacks, signature)["body"][0] == [JOB, number]
    assert queues == ["shop"]
    for number in range(1000):
        _made(callbacks, app.signature("store").set(queue=f"shop{number}"))
    assert messages._template.cache_info().currsize <= 64
    assert messages._kept.cache_info().currsize <= 1024


# --- What is refused -----------------------------------------------------------------------


BAD: Final[dict[str, object]] = {
    "no text": 5,
    "no JSON": "{",
    "no signature": "[]",
    "no task": "{}",
    "another shape": '{"task": "store", "options": [1]}',
    "arguments of another type": '{"task": "store", "args": {}, "kwargs": [1]}',
    "keyword arguments of another type": '{"task": "store", "kwargs": [1]}',
    "an invalid id": '{"task": "store", "options": {"task_id": "a\\nb"}}',
    "an invalid eta": '{"task": "store", "options": {"eta": "never"}}',
    "a type that kombu cannot decode": '{"task": "store", "options": {"eta": {"__type__": "x"}}}',
    "a chain": '{"task": "celery.chain", "kwargs": {"tasks": []}, "subtask_type": "chain"}',
    "a task of Celery's own": '{"task": "celery.chord"}',
    "a queue of Celery's": '{"task": "store", "options": {"queue": "unacked"}}',
    "a key of a batch": '{"task": "store", "options": {"queue": "sentq-batch-1"}}',
    "deeply nested": '{"task": "store", "args": ' + "[" * 3000 + "]" * 3000 + "}",
    "a broken chord": '{"task": "store", "options": {"chord": []}}',
}


@pytest.mark.parametrize("header", BAD.values(), ids=BAD)
def test_what_is_no_signature_of_a_task_is_refused(
    callbacks: CallbacksOfJobs, header: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert not callbacks.allows({"sentq_then": header})
    with pytest.raises(InvalidHeaders):
        callbacks.check({"sentq_then": header})
    assert callbacks.message(header, DONE) is None
    assert JOB in caplog.text


@pytest.mark.parametrize(
    "settings",
    [
        {"follow_tasks": ["other"]},
        {"follow_queues": ["other"]},
        {"follow_tasks": []},
        {"is_single_redis": False},
    ],
)
def test_what_may_not_follow_is_refused(app: Celery, settings: dict[str, Any]) -> None:
    callbacks = _callbacks(app, **settings)
    header = callback_of_jobs(app.signature("store").set(queue="shop"), "id", jobs=1)
    with pytest.raises(errors.LinkRefused):
        callbacks.check({"sentq_then": header})
    assert callbacks.message(header, DONE) is None


def test_headers_of_a_signature_do_not_replace_the_task_that_was_checked(app: Celery) -> None:
    callbacks = _callbacks(app, follow_tasks=["store"])
    signature = app.signature("store").set(queue="shop", headers={"task": "other", "id": "other"})
    headers = _made(callbacks, signature)["headers"]
    assert headers["task"] == "store"
    assert headers["id"] != "other"


def test_the_callback_of_a_batch_has_one_id(app: Celery) -> None:
    messages = CallbackMessages(app, FollowRules(app, WorkerSettings.load()), lambda *_: None)
    stored = callback_of_batch(app.signature("store").set(queue="shop"))
    made = messages.read(stored).message(JOB, follows=JOB, is_child=False)
    headers = json.loads(made.message)["headers"]
    assert (headers["root_id"], headers["parent_id"]) == (headers["id"], None)
    assert messages.read(stored).message(JOB, follows=JOB, is_child=False) == made
