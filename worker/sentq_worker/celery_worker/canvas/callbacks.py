"""Publishes the callbacks of batches: checked like what follows a job, in a message of Celery's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import redis
from celery import signals
from kombu.utils.functional import maybe_list
from kombu.utils.json import dumps, loads

from sentq.connection.broker import BrokerKeys
from sentq.connection.capture import captured_message
from sentq.errors import LinkRefused
from sentq_worker.broker.batches.callbacks import CallbackRefused, CallbackStore, WaitingCallback
from sentq_worker.broker.message import InvalidHeaders
from sentq_worker.celery_worker.canvas.follow import FollowRules
from sentq_worker.celery_worker.canvas.signatures import check_signature

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["BatchCallbacks"]

logger = logging.getLogger(__name__)

_NOT_PUBLISHED: Final = "the callback of a complete batch is not published: %s"

#: The options of a signature that become arguments of its message.
_ARGUMENTS: Final = (
    *("countdown", "eta", "expires", "time_limit", "soft_time_limit", "chain", "chord"),
    *("root_id", "parent_id", "shadow", "reply_to", "ignore_result"),
)

#: Those that have another name there, and are lists.
_LISTS: Final = {"link": "callbacks", "link_error": "errbacks"}


class BatchCallbacks:
    """Publishes callbacks of complete batches. Any thread may call it.

    Args:
        app: The app whose queues and results they are.
        rules: The tasks that may follow, and their queues.
        is_single_redis: Whether messages and results are in one database of one Redis. If not,
            batches have no callbacks.
    """

    def __init__(self, app: Celery, rules: FollowRules, *, is_single_redis: bool) -> None:
        self._app = app
        self._rules = rules
        self._is_single_redis = is_single_redis
        self._store = CallbackStore(app)

    def publish(self, client: redis.Redis) -> None:
        """Publish the callbacks that are to be published. If Redis does not answer, they are
        published later, or by another worker.

        Args:
            client: A connection to the Redis of the results.
        """
        if not self._is_single_redis:
            return
        try:
            for callback in self._store.waiting(client):
                self._publish(client, callback)
        except redis.RedisError as error:
            logger.debug("callbacks cannot be published now (%s)", type(error).__name__)

    def _publish(self, client: redis.Redis, callback: WaitingCallback) -> None:
        try:
            queue_list, message = self._message(callback)
        except redis.RedisError:
            raise
        except (LinkRefused, InvalidHeaders) as error:
            self._refuse(client, callback, str(error))
        except Exception as error:  # noqa: BLE001 - a sender wrote it, and others wait
            self._refuse(client, callback, type(error).__name__)
        else:
            try:
                if self._store.publish(client, callback, queue_list, message):
                    logger.info("a batch is complete: its callback is in its queue")
            except CallbackRefused as error:
                logger.error(_NOT_PUBLISHED, error)  # noqa: TRY400 - the reason says all

    def _refuse(self, client: redis.Redis, callback: WaitingCallback, reason: str) -> None:
        self._store.refuse(client, callback)
        logger.error(_NOT_PUBLISHED, reason)

    def _message(self, callback: WaitingCallback) -> tuple[str, bytes]:
        """Return the list of the queue, and the message.

        Raises:
            InvalidHeaders, LinkRefused: It is not published.
        """
        if callback.signature is None:
            raise InvalidHeaders("the callback of a batch cannot be read")
        signature = check_signature(loads(callback.signature), self._rules)
        task, options = signature["task"], signature["options"]
        first = [] if signature["immutable"] else [callback.batch_id]
        message = self._app.amqp.create_task_message(
            options["task_id"],
            task,
            args=[*first, *signature["args"]],
            kwargs=signature["kwargs"],
            **{name: options[name] for name in _ARGUMENTS if name in options},
            **{name: maybe_list(options.get(key)) for key, name in _LISTS.items()},
        )
        message.headers.update(options.get("headers") or {})
        queue = options.get("queue") or self._app.amqp.router.route({}, task)["queue"].name
        priority = options.get("priority") or 0
        # As Celery does for what follows a job: `UnreadQueues` and tracing libraries listen.
        signals.before_task_publish.send(
            sender=task,
            body=message.body,
            exchange="",
            routing_key=queue,
            declare=[],
            headers=message.headers,
            properties=message.properties,
            retry_policy={},
        )
        captured = captured_message(self._app, message, queue, priority=priority)
        return BrokerKeys().list_of(queue, priority), dumps(captured).encode()
