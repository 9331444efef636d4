"""A program that writes to Redis without the cache's secret cannot change what a worker returns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from sentq import Client, Prediction
from sentq_worker.providers.cache import PredictionCache
from tests.support.processes import RedisProcess, StartWorker
from tests.support.workers.standin import hash_outcomes

SECRET = b"the secret of the workers"
CONTEXT = b"model and options"
TEXTS = ("a good day", "CANARY, a bad day")

#: Makes an entry of its key, what a worker wrote there, and the entry of another text.
Forge = Callable[[str, bytes, bytes], bytes]


def _prediction(text: str) -> Prediction:
    (outcome,) = hash_outcomes([text])
    assert isinstance(outcome, Prediction)
    return outcome


def _lie() -> Prediction:
    return _prediction("a forged prediction")


def _plain(key: str, entry: bytes, other: bytes) -> bytes:
    return orjson.dumps(_lie().__dict__)


def _signed_with_another_secret(key: str, entry: bytes, other: bytes) -> bytes:
    return _cache(None, secret=b"a secret of the sender")._entry(key, _lie())


def _of_another_text(key: str, entry: bytes, other: bytes) -> bytes:
    return other


def _with_the_old_hmac(key: str, entry: bytes, other: bytes) -> bytes:
    return entry[:32] + orjson.dumps(_lie().__dict__)


def _one_bit_changed(key: str, entry: bytes, other: bytes) -> bytes:
    return entry[:-1] + bytes([entry[-1] ^ 1])


def _truncated(key: str, entry: bytes, other: bytes) -> bytes:
    return entry[:20]


def _without_an_hmac(key: str, entry: bytes, other: bytes) -> bytes:
    return entry[32:]


FORGERIES: list[Forge] = [
    *(_plain, _signed_with_another_secret, _of_another_text, _with_the_old_hmac),
    *(_one_bit_changed, _truncated, _without_an_hmac),
]


def _cache(client: Any, *, secret: bytes = SECRET) -> PredictionCache:
    return PredictionCache(client, secret=secret, max_entries=100, ttl_s=60)


@pytest.fixture
def client(redis_server: RedisProcess) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_entry_is_not_used_and_is_counted_and_logged_once(
    client: Any, forge: Forge, caplog: pytest.LogCaptureFixture
) -> None:
    cache = _cache(client)
    keys = cache.keys(TEXTS, context=CONTEXT)
    cache.write({keys[text]: _prediction(text) for text in TEXTS})
    assert cache.read(keys) == {text: _prediction(text) for text in TEXTS}
    entry, other = (client.get(keys[text]) for text in TEXTS)

    client.set(keys[TEXTS[0]], forge(keys[TEXTS[0]], entry, other))
    with caplog.at_level(logging.WARNING):
        assert cache.read(keys) == {TEXTS[1]: _prediction(TEXTS[1])}
        assert cache.read(keys) == {TEXTS[1]: _prediction(TEXTS[1])}
    assert cache.counts["forged"] == 2
    (record,) = caplog.records
    assert "written without the cache_secret" in record.getMessage()
    assert not any(word in record.getMessage() for word in ("day", "CANARY", "forged"))

    cache.write({keys[TEXTS[0]]: _prediction(TEXTS[0])})
    assert cache.read(keys) == {text: _prediction(text) for text in TEXTS}


def test_workers_with_one_secret_read_each_others_entries(client: Any) -> None:
    writer, reader = _cache(client), _cache(client)
    keys = writer.keys(TEXTS, context=CONTEXT)
    writer.write({keys[text]: _prediction(text) for text in TEXTS})
    assert reader.read(keys) == {text: _prediction(text) for text in TEXTS}
    assert reader.counts["forged"] == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_worker_scores_a_text_whose_entry_was_forged(
    own_redis: RedisProcess, start_worker: StartWorker
) -> None:
    worker = start_worker(own_redis.url, SENTQ_WORKER_CACHE_SECRET="x" * 32)
    with own_redis.client() as client, Client(broker_url=own_redis.url) as sentq:
        first = sentq.submit(TEXTS).result(timeout=30).outcomes
        forged = orjson.dumps(_lie().__dict__)
        for key in client.keys("sentq.cache:*"):
            client.set(key, forged)
        assert sentq.submit(TEXTS).result(timeout=30).outcomes == first
        assert forged not in [client.get(key) for key in client.keys("sentq.cache:*")]
    assert worker.log.count("written without the cache_secret") == 1
    assert "CANARY" not in worker.log
