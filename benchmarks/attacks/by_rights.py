"""Attacks by the rights of a producer, by control commands, and by clients."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from benchmarks.attacks.attack import Attack, Finding, Sent
from benchmarks.attacks.site import AttackSite
from tests.support.celery.site import stock_app

__all__ = ["RIGHTS_ATTACKS"]

_CANARY: Final = "CANARY"

#: What a producer must not do to keys that are not its own.
_FORBIDDEN: Final = (
    ("delete queues", "DEL sentq sentq.dead"),
    ("overwrite a queue", "SET sentq junk"),
    ("read a queue", "LRANGE sentq 0 -1"),
    ("overwrite the Hub's budget", "SET sentq.hub.budget junk"),
    ("forge a report", "SET sentq.worker:forged {}"),
    ("list a forged worker", "ZADD sentq.workers 9e12 forged"),
    ("read a cached prediction", "GET sentq.cache:x"),
    ("overwrite a cached prediction", "SET sentq.cache:x junk"),
    ("forge a dead letter", "XADD sentq.dead * code x"),
    ("forge a count of deliveries", "SET sentq.deliveries:x 3"),
    ("change messages in flight", "HSET unacked x y"),
    ("run a script of its own", "EVAL return(1) 0"),
    ("stop workers", "PUBLISH /0.celery.pidbox {}"),
)

_ENDLESS: Final = "redis.call('set', KEYS[1], 'junk') while true do end"


def _as_producer(site: AttackSite) -> redis.Redis:
    url, at_once = site.url_of("producer"), Retry(NoBackoff(), 0)
    return redis.Redis.from_url(url, socket_timeout=3, retry=at_once)


def _allowed(connection: redis.Redis, *command: str) -> bool:
    """Whether Redis let this user run a command. A wrong type is an answer too."""
    try:
        connection.execute_command(*command)
    except redis.exceptions.NoPermissionError:
        return False
    except redis.RedisError:
        return True
    return True


def _break_keys(site: AttackSite) -> Sent:
    with _as_producer(site) as producer:
        allowed = [what for what, command in _FORBIDDEN if _allowed(producer, *command.split())]
    text = f"{len(allowed)} of {len(_FORBIDDEN)} commands allowed"
    named = f": {', '.join(allowed)}" if allowed else ""
    return Sent(check=partial(Finding, text + named, not allowed))


def _endless_script(site: AttackSite) -> Sent:
    with _as_producer(site) as producer, suppress(redis.RedisError):
        digest = str(producer.script_load(_ENDLESS))
        producer.evalsha(digest, 1, "sentq.junk")
    return Sent(check=partial(_redis_serves, site))


def _redis_serves(site: AttackSite) -> Finding:
    try:
        site.redis.ping()
    except redis.RedisError as error:
        return Finding(f"Redis: {str(error)[:40]}", is_held=False)
    return Finding("Redis serves")


def _slow_commands(site: AttackSite) -> Sent:
    site.redis.config_set("slowlog-max-len", 10_000)
    site.checkout.run(
        "from sentq import Client\n"
        "client = Client()\n"
        f"client.submit_many('{_CANARY} {{}} '.format(n) * 400 for n in range(2000))",
        SENTQ_BROKER_URL=site.url_of(""),
    )
    return Sent(check=partial(_texts_in_the_slow_log, site))


def _texts_in_the_slow_log(site: AttackSite) -> Finding:
    entries = site.redis.slowlog_get(10_000)
    texts = sum(entry["command"].count(_BODY_BEGINS) for entry in entries)
    return Finding(f"{texts} texts in the slow log", not texts)


#: The body of a message in base64: `[[["CANARY `.
_BODY_BEGINS: Final = b"W1tbIkNBTkFSWSA"


def _control(site: AttackSite) -> Sent:
    with stock_app(site.url_of("")) as stock:
        stock.control.cancel_consumer("sentq")
        stock.control.add_consumer("payments")
        stock.control.pool_shrink(1)
        stock.control.shutdown()
    return Sent()


_SAME_KEY: Final = """
from sentq import Client
from sentq.errors import SentqError
with Client() as first, Client() as second:
    job = first.submit("I love it", key="order 1")
    try:
        other = second.submit("I hate it", key="order 1")
        print("the other text got the first one's job" if other.id == job.id else "another job")
    except SentqError as error:
        print("refused:", type(error).__name__)
"""


def _reuse_a_key(site: AttackSite) -> Sent:
    result = site.checkout.run(_SAME_KEY, SENTQ_BROKER_URL=site.url_of(""))
    return Sent(check=partial(Finding, result, not result.startswith("the other")))


#: A client whose host's clock is an hour slow.
_SLOW_CLOCK: Final = """
import time
now, now_ns = time.time, time.time_ns
time.time = lambda: now() - 3600
time.time_ns = lambda: now_ns() - 3600 * 10**9
from sentq import Client
with Client() as client:
    for job in client.submit_many(f"a text {number}" for number in range(20)):
        job.result(timeout=60)
"""


def _send_with_a_slow_clock(site: AttackSite) -> Sent:
    before = _calls_of_the_hub(site)
    site.checkout.run(_SLOW_CLOCK, SENTQ_BROKER_URL=site.url_of(""))
    calls = _calls_of_the_hub(site) - before
    return Sent(check=partial(Finding, f"{calls} of 20 jobs sent to the Hub", not calls))


def _calls_of_the_hub(site: AttackSite) -> int:
    """Return the calls so far; the worker has tried its Hub once."""
    return site.hub.calls if site.hub else 0


RIGHTS_ATTACKS: Final = (
    Attack("H5 commands of a producer", _break_keys, with_users=True),
    Attack("H6 an endless script of a producer", _endless_script, with_users=True),
    Attack("M1 texts in the slow log", _slow_commands),
    Attack("M7 a key for another text", _reuse_a_key),
    Attack(
        "M9 broadcast of shutdown and more",
        _control,
        variables={"SENTQ_WORKER_REMOTE_CONTROL": "inspect"},
    ),
    Attack(
        "M10 a client whose clock is an hour slow",
        _send_with_a_slow_clock,
        bundled_model=True,
        with_hub=True,
    ),
)
