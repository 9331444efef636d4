"""The cache of predictions: equal outcomes, a bounded size, and no effect on failures."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sentq import Client, ErrorCode, TextError
from sentq.contract import Limits, Outcome, Prediction
from sentq_worker.providers.cache import CachingScorer, PredictionCache, _options
from sentq_worker.settings import WorkerSettings
from tests.support.models.engines import ScriptedEngine
from tests.support.processes import RedisProcess, StartWorker
from tests.support.workers.standin import hash_outcomes

SECRET = b"the secret of the cache"


class CountingScorer:
    """Scores a text by its hash, and records the texts of the last call."""

    def __init__(self, *, revision: str | None = "commit") -> None:
        self.engine = ScriptedEngine()
        self.set_revision(revision)
        self.scored_texts: list[object] = []

    def set_revision(self, revision: str | None) -> None:
        """Use another revision of the model."""
        self.engine.info = replace(self.engine.info, revision=revision)

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        self.scored_texts = [text for job in jobs for text in job]
        return [[_outcome(text) for text in job] for job in jobs]


class ReplacedScorer(CountingScorer):
    """Changes its revision while it scores."""

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        self.set_revision("another")
        return super().score(jobs)


def _outcome(text: object) -> Outcome:
    if not isinstance(text, str) or text == "bad":
        return TextError(code=ErrorCode.INFERENCE_FAILED, message="scripted")
    try:
        return hash_outcomes([text])[0]
    except UnicodeEncodeError:
        return TextError(code=ErrorCode.LONE_SURROGATE, message="scripted")


def _cached(
    scorer: CountingScorer, client: Any, *, options: object = None, **settings: Any
) -> CachingScorer:
    defaults: dict[str, Any] = {"secret": SECRET, "max_entries": 100, "ttl_s": 60}
    cache = PredictionCache(client, **defaults | settings)
    return CachingScorer(scorer, cache, options=options)


@pytest.fixture
def client(redis_server: RedisProcess) -> Any:
    with redis_server.client() as client:
        yield client


def test_a_repeated_text_is_not_scored_again(client: Any) -> None:
    scorer = CountingScorer()
    cached = _cached(scorer, client)
    first = cached.score([["one", "two"], ["one"]])
    assert scorer.scored_texts == ["one", "two", "one"]
    jobs = [["three", "one", "four", "two"], [], ["four", "one"]]
    assert cached.score(jobs) == [hash_outcomes(job) for job in jobs]
    assert scorer.scored_texts == ["three", "four", "four"]
    assert cached.score([["one", "two"], ["one"]]) == first
    assert scorer.scored_texts == []


def test_only_predictions_are_cached(client: Any) -> None:
    scorer = CountingScorer()
    cached = _cached(scorer, client)
    job = ["bad", None, ["a list"], "\ud800", True, 1, "good"]
    assert cached.score([job]) == [[_outcome(text) for text in job]]
    assert cached.score([job]) == [[_outcome(text) for text in job]]
    assert scorer.scored_texts == job[:-1]
    assert len(client.keys("sentq.cache:*")) == 1


def test_cache_entries_hold_no_text_and_need_the_secret(
    client: Any,
) -> None:
    _cached(CountingScorer(), client).score([["CANARY"]])
    everything = [*client.keys(), *client.zrange("sentq.cache", 0, -1)]
    everything += [client.get(key) for key in client.keys("sentq.cache:*")]
    assert len(everything) == 4
    assert not any(b"CANARY" in each for each in everything)
    scorer = CountingScorer()
    _cached(scorer, client, secret=b"a guess").score([["CANARY"]])
    assert scorer.scored_texts == ["CANARY"]


def test_another_commit_or_option_has_its_own_cache_entries(client: Any) -> None:
    scorer = CountingScorer()
    _cached(scorer, client).score([["a"]])
    _cached(scorer, client, options={"window_join": "max"}).score([["a"]])
    assert scorer.scored_texts == ["a"]
    scorer.set_revision("another")
    _cached(scorer, client).score([["a"]])
    assert scorer.scored_texts == ["a"]
    scorer.set_revision("commit")
    _cached(scorer, client).score([["a"]])
    assert scorer.scored_texts == []


@pytest.mark.parametrize(
    "changed",
    [{"languages": "en,fr"}, {"on_other_language": "refuse"}, {"min_language_confidence": 0.9}],
)
def test_other_settings_of_languages_have_their_own_entries(changed: dict[str, Any]) -> None:
    plain = _options(WorkerSettings.load(), Limits())
    assert _options(WorkerSettings.load(**changed), Limits()) != plain


@pytest.mark.parametrize("scorer", [CountingScorer(revision=None), ReplacedScorer()])
def test_an_outcome_of_an_unknown_model_is_not_cached(client: Any, scorer: CountingScorer) -> None:
    assert _cached(scorer, client).score([["a"]]) == [hash_outcomes(["a"])]
    assert client.keys() == []


def test_the_cache_is_bounded_and_evicts_the_oldest_entries(client: Any) -> None:
    scorer = CountingScorer()
    cached = _cached(scorer, client, max_entries=5)
    for number in range(8):
        cached.score([[str(number)]])
    assert client.zcard("sentq.cache") == len(client.keys("sentq.cache:*")) == 5
    cached.score([[str(number) for number in range(8)]])
    assert scorer.scored_texts == ["0", "1", "2"]
    cached.score([[f"new {number}" for number in range(2000)]])
    assert client.zcard("sentq.cache") == len(client.keys("sentq.cache:*")) == 5
    cached.score([["new 1999", "new 1994"]])
    assert scorer.scored_texts == ["new 1994"]


def test_an_expired_entry_is_scored_again_and_removed_from_the_index(client: Any) -> None:
    scorer = CountingScorer()
    cached = _cached(scorer, client)
    cached.score([["old"]])
    (key,) = client.keys("sentq.cache:*")
    assert 0 < client.ttl(key) <= 60
    assert 0 < client.ttl("sentq.cache") <= 60
    client.delete(key)
    client.zincrby("sentq.cache", -60_000_000, key)
    cached.score([["new"]])
    assert key not in client.zrange("sentq.cache", 0, -1)
    cached.score([["old"]])
    assert scorer.scored_texts == ["old"]


def test_an_unreadable_entry_is_scored_again(client: Any) -> None:
    scorer = CountingScorer()
    cached = _cached(scorer, client)
    cached.score([["a"]])
    for unreadable in (b"", b"{", b'{"label": 3}', b"[]"):
        client.set(client.keys("sentq.cache:*")[0], unreadable)
        assert cached.score([["a"]]) == [hash_outcomes(["a"])]
        assert scorer.scored_texts == ["a"]
    cached.score([["a"]])
    assert scorer.scored_texts == []


@pytest.mark.slow
def test_texts_are_scored_without_redis_and_cached_again_when_it_is_back(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with own_redis.client() as client:
        scorer = CountingScorer()
        cached = _cached(scorer, client)
        cached.score([["a"]])
        own_redis.stop()
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert cached.score([["a"]]) == [hash_outcomes(["a"])]
                assert scorer.scored_texts == ["a"]
        assert len(caplog.records) == 1, "the cache did not wait before it called Redis again"
        own_redis.start()
        monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
        cached.score([["a"]])
        cached.score([["a"]])
        assert scorer.scored_texts == []


def test_a_full_redis_is_read_but_not_written(client: Any) -> None:
    scorer = CountingScorer()
    cached = _cached(scorer, client)
    cached.score([["a"]])
    client.config_set("maxmemory", 1)
    try:
        assert cached.score([["a", "b"]]) == [hash_outcomes(["a", "b"])]
        assert scorer.scored_texts == ["b"]
    finally:
        client.config_set("maxmemory", 0)
    assert len(client.keys("sentq.cache:*")) == 1


@pytest.mark.parametrize("secret", ["short", ""])
def test_a_short_cache_secret_is_rejected_and_an_empty_one_means_none(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTQ_WORKER_CACHE_SECRET", secret)
    if secret:
        with pytest.raises(Exception, match="cache_secret"):
            WorkerSettings.load()
    else:
        assert WorkerSettings.load().cache_secret is None


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_worker_uses_a_cached_prediction(
    own_redis: RedisProcess, start_worker: StartWorker
) -> None:
    secret = "x" * 32
    start_worker(own_redis.url, SENTQ_WORKER_CACHE_SECRET=secret)
    texts = ["a good day", "", "a good day", " ".join(["a film"] * 80)]
    with own_redis.client() as client, Client(broker_url=own_redis.url) as sentq:
        first = sentq.submit(texts).result(timeout=30).outcomes
        assert sentq.submit(texts).result(timeout=30).outcomes == first
        keys = [key.decode() for key in client.keys("sentq.cache:*")]
        assert len(keys) == 2
        (kept,) = hash_outcomes(["kept"])
        assert isinstance(kept, Prediction)
        cache = PredictionCache(client, secret=secret.encode(), max_entries=9, ttl_s=60)
        cache.write(dict.fromkeys(keys, kept))
        again = sentq.submit(texts).result(timeout=30).outcomes
    assert again == [kept, first[1], kept, kept]
