"""The cache of predictions in Redis, for repeated texts: off unless `cache_secret` is set.

    texts ──▶ one MGET ──▶ texts that are not cached ──▶ scorer ──▶ one script writes predictions

An entry holds a prediction alone. Its key is a keyed hash: `cache_secret` is never stored in Redis,
and without it a reader of the keys cannot find out which texts were scored, nor test a guess. The
hash covers the model's commit and all else that an outcome depends on. A new model or option never
reads the entries of an old one.

    sentq.cache:<keyed hash>   string   HMAC-SHA256 (32 bytes), then the prediction as JSON

The HMAC covers the key and the prediction. A client of Redis that has no `cache_secret`
can neither change an entry, nor make one, nor copy one to another key: such an entry is not used.

While Redis fails or is full, texts are scored without the cache.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final, cast

import orjson
import redis

from sentq import __version__
from sentq.contract import Limits, Outcome, Prediction
from sentq.errors import OverLimit
from sentq.wire.lua import load_script
from sentq_worker.engine.counts import EngineCounts, counts_of
from sentq_worker.engine.provider import (
    HasEngineInfo,
    JobOutcomes,
    JobScorer,
    SupportsPrefetch,
    SupportsRoutes,
    scorer_steps,
)
from sentq_worker.engine.steps import Steps, run_steps
from sentq_worker.providers.loading import LoadScorer
from sentq_worker.providers.results_redis import key_prefix, results_client
from sentq_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["CachingScorer", "PredictionCache", "with_cache"]

logger = logging.getLogger(__name__)

#: The prefix of all keys, and the name of their index.
_PREFIX: Final = "sentq.cache"

#: How long the cache is not used after Redis failed, so that not every batch waits for a time-out.
_SUSPENDED_S: Final = 10.0

#: Hexadecimal digits of a key: 128 bits, so that two texts never share a key.
_KEY_DIGITS: Final = 32

#: The length of an entry's HMAC, and what separates its key from that of the hashes of texts.
_MAC_BYTES: Final = 32
_MAC_PURPOSE: Final = b"sentq cache entry v1"

_KEEP: Final = load_script("sentq_worker.providers", "keep_outcomes")


class PredictionCache:
    """Stores predictions in Redis under keyed hashes.

    Args:
        client: A client of the Redis that stores results.
        global_prefix: The configured prefix of all keys.
        secret: The secret from which the keys of the hash and of the HMAC are derived.
        max_entries: Most predictions in the cache. The oldest are removed first.
        ttl_s: How long a prediction stays, in seconds.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        global_prefix: str = "",
        secret: bytes,
        max_entries: int,
        ttl_s: int,
    ) -> None:
        self._client = client
        self._index = f"{global_prefix}{_PREFIX}"
        self._secret = secret
        self._mac_key = hmac.digest(secret, _MAC_PURPOSE, "sha256")
        self._max_entries = max_entries
        self._ttl_s = ttl_s
        self._suspended_until = 0.0
        #: Texts that were found and not found, entries that were not used because a program
        #: without the secret wrote them, and failures of Redis.
        self.counts: Counter[str] = Counter(hits=0, misses=0, forged=0, errors=0)

    def keys(self, texts: Iterable[str], *, context: bytes) -> dict[str, str]:
        """Return the key of each text that is valid Unicode.

        Args:
            texts: The texts, each any number of times.
            context: All that the outcomes depend on besides the text.
        """
        secret = hmac.digest(self._secret, context, "sha256")
        valid = (text for text in dict.fromkeys(texts) if _is_valid_unicode(text))
        return {text: self._key(secret, text) for text in valid}

    def read(self, keys: Mapping[str, str]) -> dict[str, Prediction]:
        """Return the cached predictions by text, in one round trip; none if Redis fails.

        An entry that was not written with the secret counts as missing, and the next `write`
        replaces it.
        """
        if not keys or not self._is_active():
            return {}
        try:
            documents = cast("list[bytes | None]", self._client.mget(list(keys.values())))
        except redis.RedisError as error:
            self._suspend("read", error)
            return {}
        entries = zip(keys.items(), documents, strict=True)
        found = ((text, self._opened(key, entry)) for (text, key), entry in entries if entry)
        known = {text: prediction for text, prediction in found if prediction is not None}
        self.counts["hits"] += len(known)
        self.counts["misses"] += len(keys) - len(known)
        return known

    def write(self, predictions: Mapping[str, Prediction]) -> None:
        """Write predictions by key, in one round trip; nothing if Redis fails."""
        if not predictions or not self._is_active():
            return
        # More entries than the cache may hold would only evict each other.
        newest = list(predictions.items())[-self._max_entries :]
        try:
            _KEEP.run(
                self._client,
                [self._index, *(key for key, _ in newest)],
                [self._max_entries, self._ttl_s, *(self._entry(key, p) for key, p in newest)],
            )
        except redis.RedisError as error:
            self._suspend("written", error)

    def _key(self, secret: bytes, text: str) -> str:
        digest = hmac.digest(secret, text.encode(), "sha256").hex()
        return f"{self._index}:{digest[:_KEY_DIGITS]}"

    def _entry(self, key: str, prediction: Prediction) -> bytes:
        document = orjson.dumps(prediction.__dict__)
        return self._mac(key, document) + document

    def _opened(self, key: str, entry: bytes) -> Prediction | None:
        """Return the prediction in an entry; None if it was not written with the secret."""
        mac, document = entry[:_MAC_BYTES], entry[_MAC_BYTES:]
        if hmac.compare_digest(mac, self._mac(key, document)):
            return _prediction(document)
        self.counts["forged"] += 1
        if self.counts["forged"] == 1:
            logger.warning(
                "cached predictions are not used that were written without the cache_secret: "
                "another program, or a worker of an older version, writes to %s:*; "
                "this is logged once",
                self._index,
            )
        return None

    def _mac(self, key: str, document: bytes) -> bytes:
        return hmac.digest(self._mac_key, key.encode() + b"\0" + document, "sha256")

    def _is_active(self) -> bool:
        return time.monotonic() >= self._suspended_until

    def _suspend(self, action: str, error: redis.RedisError) -> None:
        self.counts["errors"] += 1
        self._suspended_until = time.monotonic() + _SUSPENDED_S
        logger.warning(
            "cached predictions cannot be %s (%s); the cache is not used for %.0f s",
            action,
            type(error).__name__,
            _SUSPENDED_S,
        )


class CachingScorer:
    """Scores the texts that are not cached. One thread at a time may use it.

    Args:
        scorer: Scores the other texts.
        cache: The cache of predictions.
        options: All that outcomes depend on besides text and model.
    """

    def __init__(self, scorer: JobScorer, cache: PredictionCache, *, options: object) -> None:
        self._scorer = scorer
        self._cache = cache
        self._options = options

    @property
    def engine(self) -> HasEngineInfo:
        """The engine of the scorer."""
        return self._scorer.engine

    def without_routes(self) -> JobScorer:
        """See `SupportsRoutes`. It has entries of its own: a text that is routed has none here."""
        if not isinstance(self._scorer, SupportsRoutes):
            return self
        scorer = self._scorer.without_routes()
        return CachingScorer(scorer, self._cache, options=[self._options, "without routes"])

    @property
    def counts(self) -> EngineCounts:
        """See `SupportsCounts`."""
        return counts_of(self._scorer) + EngineCounts(cache=Counter(self._cache.counts))

    def prefetch(self, jobs: Sequence[Sequence[object]]) -> None:
        """See `Provider.prefetch`. Cached texts are prepared too, on a core that is idle."""
        if isinstance(self._scorer, SupportsPrefetch):
            self._scorer.prefetch(jobs)

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """Score the texts of jobs as the scorer does, with cached predictions where there are any.

        A `TextError` is never cached: it costs nothing to find, or may not occur again.

        Raises:
            OverLimit: One of the jobs exceeds a limit.
        """
        scored = run_steps(self.score_in_steps(jobs))
        for outcomes in scored:
            if isinstance(outcomes, OverLimit):
                raise outcomes
        return [outcomes for outcomes in scored if not isinstance(outcomes, OverLimit)]

    def score_in_steps(self, jobs: Sequence[Sequence[object]]) -> Steps[list[JobOutcomes]]:
        """Score the texts of jobs as `score` does, with a pause after each step of the scorer."""
        info = self._scorer.engine.info
        if info.revision is None:
            # Without a commit the same name may stand for other weights tomorrow.
            return [*(yield from scorer_steps(self._scorer, jobs))]
        texts = (text for job in jobs for text in job if isinstance(text, str))
        keys = self._cache.keys(texts, context=orjson.dumps([__version__, info, self._options]))
        known = self._cache.read(keys)
        unknown = [[text for text in job if _find(known, text) is None] for job in jobs]
        scored = yield from scorer_steps(self._scorer, unknown)
        # If the engine was replaced meanwhile, it is not known which texts the new one scored.
        if self._scorer.engine.info == info:
            pairs = chain.from_iterable(
                zip(texts_of_job, outcomes, strict=True)
                for texts_of_job, outcomes in zip(unknown, scored, strict=True)
                if not isinstance(outcomes, OverLimit)
            )
            self._cache.write(
                {
                    keys[text]: outcome
                    for text, outcome in pairs
                    if isinstance(outcome, Prediction) and isinstance(text, str)
                }
            )
        return [
            outcomes if isinstance(outcomes, OverLimit) else _merged(job, known, outcomes)
            for job, outcomes in zip(jobs, scored, strict=True)
        ]


def with_cache(load: LoadScorer, app: Celery) -> LoadScorer:
    """Return a `load` whose scorer uses the cache in the app's Redis, if the settings say so."""

    def load_with_cache(settings: WorkerSettings, limits: Limits) -> JobScorer:
        scorer = load(settings, limits)
        if settings.cache_secret is None:
            return scorer
        cache = PredictionCache(
            results_client(app),
            global_prefix=key_prefix(app),
            secret=settings.cache_secret.get_secret_value().encode(),
            max_entries=settings.cache_max_entries,
            ttl_s=settings.cache_ttl_s,
        )
        logger.info(
            "predictions are cached: at most %d, for %d s",
            settings.cache_max_entries,
            settings.cache_ttl_s,
        )
        if scorer.engine.info.revision is None:
            logger.warning("nothing is cached: the commit of the model is not known")
        return CachingScorer(scorer, cache, options=_options(settings, limits))

    return load_with_cache


def _options(settings: WorkerSettings, limits: Limits) -> object:
    """Return all that an outcome depends on besides its text and the model."""
    return [
        settings.labels,
        settings.window_tokens,
        settings.window_overlap_tokens,
        settings.window_join,
        settings.languages,
        settings.on_other_language,
        settings.min_language_confidence,
        [[name, model.model, model.languages] for name, model in settings.models.items()],
        limits.chars_per_text,
        # Not by default: the entries of workers without this setting stay valid.
        *([] if settings.clean == "none" else [settings.clean]),
    ]


def _merged(
    job: Sequence[object], known: Mapping[str, Prediction], scored: Sequence[Outcome]
) -> list[Outcome]:
    """Return the outcomes of a job's texts: known ones, and for the others the next of `scored`."""
    new = iter(scored)
    return [_find(known, text) or next(new) for text in job]


def _find(known: Mapping[str, Prediction], text: object) -> Prediction | None:
    return known.get(text) if isinstance(text, str) else None


def _prediction(document: bytes) -> Prediction | None:
    try:
        return Prediction.model_validate(orjson.loads(document))
    except ValueError:  # pydantic's too: a worker of another version wrote the entry
        return None


def _is_valid_unicode(text: str) -> bool:
    """Return whether a text can be encoded. The scorer rejects a text that cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
