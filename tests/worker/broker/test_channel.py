"""Taking messages by kombu's own way to a channel: also from a Redis that has lost its scripts."""

from __future__ import annotations

from typing import Any

from kombu import Connection, Consumer, Producer, Queue

from sentq_worker.broker.channel import Transport
from tests.support.processes import RedisProcess


def test_messages_are_taken_when_redis_has_lost_the_script(redis_server: RedisProcess) -> None:
    taken: list[Any] = []

    def take(body: object, message: Any) -> None:
        taken.append(body)
        message.ack()

    with (
        redis_server.client() as server,
        Connection(redis_server.url) as sender,
        Connection(redis_server.url, transport=Transport) as connection,
        Consumer(connection, [Queue("sentq")], callbacks=[take]),
    ):
        for number in range(3):
            server.script_flush()
            Producer(sender).publish({"n": number}, routing_key="sentq")
            while len(taken) <= number:
                connection.drain_events(timeout=20)
        assert taken == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert server.exists("unacked", "sentq") == 0
