"""Outcomes of texts that come again, in Redis: off unless `cache_secret` is set.

    texts ──▶ one MGET ──▶ those that are not there ──▶ scorer ──▶ one script keeps them

What is kept under a key is the outcome alone. The key is a keyed hash: without `cache_secret`,
which never lies in Redis, nobody can tell from the keys which texts were scored, nor try out
whether a certain one was. It names the model's commit and whatever else an outcome depends on,
so a new model or option never meets an older one's outcomes.

The cache is a help and no more: while Redis fails or is full, texts are scored as without it.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import orjson
import redis

from sentq import __version__
from sentq.contract import Limits, Outcome, Prediction
from sentq.wire.lua import load_script
from sentq_worker.engine.base import EngineInfo
from sentq_worker.engine.provider import JobScorer, SupportsPrefetch
from sentq_worker.providers.loading import LoadScorer
from sentq_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["CachingScorer", "OutcomeCache", "with_cache"]

logger = logging.getLogger(__name__)

#: Begins the names of all keys; the index of them stands under this name itself.
_PREFIX: Final = "sentq.cache"

#: How long an outage of Redis is taken for granted, so that not every round waits for its end.
_REST_S: Final = 10.0

#: Hexadecimal digits of a key: 128 bits, so that no two texts ever share one.
_KEY_DIGITS: Final = 32

_KEEP: Final = load_script("sentq_worker.providers", "keep_outcomes")


class OutcomeCache:
    """Predictions in Redis, by keys that tell nothing.

    Args:
        client: Of the Redis that keeps outcomes.
        global_prefix: What all names in this Redis begin with.
        secret: The key of the hash.
        most: How many predictions are kept; the oldest go first.
        ttl_s: How long each is kept.
    """

    def __init__(
        self, client: Any, *, global_prefix: str = "", secret: bytes, most: int, ttl_s: int
    ) -> None:
        self._client = client
        self._index = f"{global_prefix}{_PREFIX}"
        self._secret = secret
        self._most = most
        self._ttl_s = ttl_s
        self._rests_until = 0.0

    def keys(self, texts: Iterable[str], *, under: bytes) -> dict[str, str]:
        """The key of each text, none where it is not valid Unicode.

        Args:
            under: What the outcomes depend on beside the text.
        """
        secret = hmac.digest(self._secret, under, "sha256")
        return {text: self._key(secret, text) for text in dict.fromkeys(texts) if _encodes(text)}

    def read(self, keys: Mapping[str, str]) -> dict[str, Prediction]:
        """The predictions that are there, by text; none where Redis fails. One round trip."""
        if not keys or not self._is_up():
            return {}
        try:
            documents = self._client.mget(list(keys.values()))
        except redis.RedisError as error:
            self._rest("read", error)
            return {}
        found = zip(keys, map(_prediction, documents), strict=True)
        return {text: prediction for text, prediction in found if prediction is not None}

    def keep(self, predictions: Mapping[str, Prediction]) -> None:
        """Keep predictions, by key, unless Redis fails. One round trip."""
        if not predictions or not self._is_up():
            return
        # More than are kept at all would only drive each other out.
        newest = list(predictions.items())[-self._most :]
        try:
            _KEEP.run(
                self._client,
                [self._index, *(key for key, _ in newest)],
                [self._most, self._ttl_s, *(orjson.dumps(p.__dict__) for _, p in newest)],
            )
        except redis.RedisError as error:
            self._rest("kept", error)

    def _key(self, secret: bytes, text: str) -> str:
        digest = hmac.digest(secret, text.encode(), "sha256").hex()
        return f"{self._index}:{digest[:_KEY_DIGITS]}"

    def _is_up(self) -> bool:
        return time.monotonic() >= self._rests_until

    def _rest(self, what: str, error: redis.RedisError) -> None:
        self._rests_until = time.monotonic() + _REST_S
        logger.warning(
            "cached outcomes cannot be %s (%s); texts are scored without for %.0f s",
            what,
            type(error).__name__,
            _REST_S,
        )


class CachingScorer:
    """Scores only what the cache does not know. Used by one thread at a time.

    Args:
        options: Whatever outcomes depend on beside text and model.
    """

    def __init__(self, scorer: JobScorer, cache: OutcomeCache, *, options: object) -> None:
        self._scorer = scorer
        self._cache = cache
        self._options = options

    @property
    def engine(self) -> Any:
        """The engine of the scorer."""
        return self._scorer.engine

    def prefetch(self, jobs: Sequence[Sequence[object]]) -> None:
        """See `Provider.prefetch`. What is cached is read in vain, beside an engine that has
        other work."""
        if isinstance(self._scorer, SupportsPrefetch):
            self._scorer.prefetch(jobs)

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """As the scorer; a text whose prediction is there gets the same one again.

        A problem with a text is never kept: it costs nothing to find, or may be gone next time.
        """
        info: EngineInfo = self._scorer.engine.info
        if info.revision is None:
            # Nobody can tell whether the same weights would answer tomorrow.
            return self._scorer.score(jobs)
        texts = (text for job in jobs for text in job if isinstance(text, str))
        keys = self._cache.keys(texts, under=orjson.dumps([__version__, info, self._options]))
        known = self._cache.read(keys)
        unknown = [[text for text in job if _find(known, text) is None] for job in jobs]
        scored = self._scorer.score(unknown)
        # An engine may have stood in for another meanwhile, and who knows for which texts.
        if self._scorer.engine.info == info:
            pairs = chain.from_iterable(map(zip, unknown, scored))
            self._cache.keep(
                {
                    keys[text]: outcome
                    for text, outcome in pairs
                    if isinstance(outcome, Prediction) and isinstance(text, str)
                }
            )
        return [
            [_find(known, text) or next(new) for text in job]
            for job, new in zip(jobs, map(iter, scored), strict=True)
        ]


def with_cache(load: LoadScorer, app: Celery) -> LoadScorer:
    """A `load` whose scorer keeps outcomes in the app's Redis, where the settings say so."""

    def load_with_cache(settings: WorkerSettings, limits: Limits) -> JobScorer:
        scorer = load(settings, limits)
        if settings.cache_secret is None:
            return scorer
        options = app.conf.get("result_backend_transport_options") or {}
        cache = OutcomeCache(
            app.backend.client,
            global_prefix=options.get("global_keyprefix", ""),
            secret=settings.cache_secret.get_secret_value().encode(),
            most=settings.cache_max_entries,
            ttl_s=settings.cache_ttl_s,
        )
        logger.info(
            "outcomes are cached: %d at most, for %d s",
            settings.cache_max_entries,
            settings.cache_ttl_s,
        )
        if scorer.engine.info.revision is None:
            logger.warning("nothing is cached: the commit of the model is not known")
        return CachingScorer(scorer, cache, options=_options(settings, limits))

    return load_with_cache


def _options(settings: WorkerSettings, limits: Limits) -> object:
    """Whatever an outcome depends on beside its text and the model."""
    return [
        settings.labels,
        settings.window_tokens,
        settings.window_overlap_tokens,
        settings.window_join,
        limits.chars_per_text,
    ]


def _find(known: Mapping[str, Prediction], text: object) -> Prediction | None:
    return known.get(text) if isinstance(text, str) else None


def _prediction(document: bytes | None) -> Prediction | None:
    if document is None:
        return None
    try:
        return Prediction.model_validate(orjson.loads(document))
    except ValueError:  # pydantic's too: whatever it is, it is none of ours
        return None


def _encodes(text: str) -> bool:
    """Whether a text is valid Unicode; what is not, the scorer refuses."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
