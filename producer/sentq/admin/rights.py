"""What the Redis user of this program may do, found out without changing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import redis

from sentq.admin.findings import DoctorFinding, ok, problem
from sentq.connection.broker import BrokerRedis
from sentq.wire.dead_letters import DEAD_LETTERS_KEY
from sentq.wire.reports import read_reports
from sentq.wire.scheduled import SCHEDULED_KEY

__all__ = ["check_rights"]

_SEND: Final = "send jobs"
_WAIT: Final = "wait for outcomes"
_STATUS: Final = "see the status"
_DEAD: Final = "handle dead letters"

#: A user of one role needs no more.
_ROLES: Final = ((_SEND, _WAIT), (_STATUS, _DEAD))


def check_rights(broker: BrokerRedis, queue: str) -> DoctorFinding:
    """Check whether this user may do what a producer, or what an operator does.

    Args:
        broker: The broker's Redis.
        queue: The queue of single jobs.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    refused = {
        use: [
            " ".join(str(word) for word in command[: 2 if command[0] == "MEMORY" else 1])
            for command in commands
            if not _may_queue(broker.redis, command)
        ]
        for use, commands in _commands(broker, queue).items()
    }
    if not _may_read_reports(broker):
        refused[_SEND].append("FCALL or EVALSHA")
        refused[_STATUS].append("FCALL or EVALSHA")
    if not _may_subscribe(broker):
        refused[_WAIT].append("SUBSCRIBE")
    missing = "; ".join(f"{use}: {', '.join(names)}" for use, names in refused.items() if names)
    if not missing:
        return ok("rights", f"may {', '.join(refused)}")
    if any(not any(refused[use] for use in role) for role in _ROLES):
        may = [use for use, names in refused.items() if not names]
        return ok("rights", f"may {', '.join(may)}; refused are: {missing}")
    return problem(
        "rights",
        f"Redis refuses commands to this user: {missing}",
        "give it the rights of a producer or an operator in configs/users.acl",
    )


def _commands(broker: BrokerRedis, queue: str) -> Mapping[str, Sequence[tuple[str, ...]]]:
    """Return the commands that each use of sentq needs."""
    waiting, result = broker.key(queue), _result_key(broker)
    dead = broker.key(DEAD_LETTERS_KEY)
    return {
        _SEND: (
            ("LPUSH", waiting, ""),
            ("LLEN", waiting),
            ("MEMORY", "USAGE", waiting),
            ("SET", result, ""),
        ),
        _WAIT: (("GET", result), ("MGET", result)),
        _STATUS: (
            ("LLEN", waiting),
            ("ZCARD", broker.unacked_index_key),
            ("ZCOUNT", broker.key(SCHEDULED_KEY), "0", "0"),
            ("XLEN", dead),
        ),
        _DEAD: (("XRANGE", dead, "-", "+"), ("XDEL", dead, "0-1")),
    }


def _may_queue(connection: redis.Redis, command: Sequence[str]) -> bool:
    """Return whether Redis accepts a command in a transaction, which is then discarded."""
    pool = connection.connection_pool
    own = pool.get_connection()
    replies: list[object] = []
    try:
        for each in (("MULTI",), command, ("DISCARD",)):
            own.send_command(*each)
            try:
                replies.append(own.read_response())
            except redis.ResponseError as error:  # Others than for want of rights do not count.
                replies.append(error)
    finally:
        pool.release(own)
    return not any(isinstance(each, redis.exceptions.NoPermissionError) for each in replies)


def _may_read_reports(broker: BrokerRedis) -> bool:
    try:
        read_reports(broker.redis, prefix=broker.prefix)
    except redis.exceptions.NoPermissionError:
        return False
    return True


def _may_subscribe(broker: BrokerRedis) -> bool:
    try:
        with broker.redis.pubsub() as channel:
            channel.subscribe(_result_key(broker))
            channel.get_message(timeout=1)
    except redis.exceptions.NoPermissionError:
        return False
    return True


def _result_key(broker: BrokerRedis) -> str:
    return broker.key("celery-task-meta-sentq-doctor")
