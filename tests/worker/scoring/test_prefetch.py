"""Prefetching tokenizes texts earlier, and has no other effect."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from sentq.contract import Limits
from sentq_worker.providers.breaker import Breaker
from sentq_worker.providers.fallback import FallbackProvider
from sentq_worker.providers.local import LocalProvider
from sentq_worker.scoring.prefetch import Prefetcher
from sentq_worker.scoring.preprocess import PreprocessedText, Preprocessor
from sentq_worker.scoring.scorer import EngineScorer
from sentq_worker.scoring.windows import TextTokenizer, TextTokens
from tests.support.models.engines import ScriptedEngine
from tests.support.models.providers import ScriptedJob, ScriptedProvider

TEXTS: list[object] = ["a good day", "awful", "", "x" * 300, 7, None, "\ud800", "so sad, so dull"]


class _RecordingPreprocessor:
    """Preprocesses a text to its length, and records the calls. Waits while the gate is closed."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails_in_prefetch = False

    def __call__(self, texts: Sequence[object]) -> list[PreprocessedText]:
        name = threading.current_thread().name
        self.calls.append((name, sorted(map(str, texts))))
        assert self.gate.wait(10)
        if self.fails_in_prefetch and name.startswith("sentq-prefetch"):
            raise MemoryError
        return [TextTokens([], len(str(text))) for text in texts]

    @property
    def on_demand(self) -> list[list[str]]:
        """The texts of each call outside the prefetching thread."""
        return [texts for name, texts in self.calls if not name.startswith("sentq-prefetch")]


def _lengths(found: Sequence[PreprocessedText]) -> list[int]:
    return [read.tokens for read in found if isinstance(read, TextTokens)]


def test_prefetched_texts_are_not_read_again_and_others_are_read_on_demand() -> None:
    preprocess = _RecordingPreprocessor()
    prefetcher = Prefetcher(preprocess)
    prefetcher.begin(["a", "bb", 3])
    assert _lengths(prefetcher.preprocess(["ccc", "bb", 4444, "a"])) == [3, 2, 4, 1]
    assert preprocess.on_demand == [["4444", "ccc"]]


def test_a_text_being_prefetched_is_awaited() -> None:
    preprocess = _RecordingPreprocessor()
    preprocess.gate.clear()
    prefetcher = Prefetcher(preprocess)
    prefetcher.begin(["a"])
    threading.Timer(0.2, preprocess.gate.set).start()
    assert _lengths(prefetcher.preprocess(["a"])) == [1]
    assert preprocess.on_demand == [[]]


def test_a_text_is_prefetched_once_and_returned_once() -> None:
    preprocess = _RecordingPreprocessor()
    prefetcher = Prefetcher(preprocess)
    prefetcher.begin(["a", "bb"])
    prefetcher.begin(["bb", "ccc"])
    assert _lengths(prefetcher.preprocess(["a", "bb", "ccc"])) == [1, 2, 3]
    assert sorted(texts for _, texts in preprocess.calls) == [[], ["a", "bb"], ["ccc"]]
    assert _lengths(prefetcher.preprocess(["a"])) == [1]
    assert preprocess.on_demand == [[], ["a"]], "a returned text is not kept"


def test_a_failed_prefetch_is_ignored() -> None:
    preprocess = _RecordingPreprocessor()
    preprocess.fails_in_prefetch = True
    prefetcher = Prefetcher(preprocess)
    prefetcher.begin(["a"])
    assert _lengths(prefetcher.preprocess(["a"])) == [1]
    assert preprocess.on_demand == [["a"]]


def test_unused_prefetched_texts_are_discarded() -> None:
    preprocess = _RecordingPreprocessor()
    prefetcher = Prefetcher(preprocess)
    for number in range(9):
        prefetcher.begin([f"text {number}"])
    prefetcher.preprocess([f"text {number}" for number in range(9)])
    assert preprocess.on_demand == [[f"text {number}" for number in range(7)]]


@pytest.fixture
def reader(tiny_model: Path) -> TextTokenizer:
    return TextTokenizer(
        Tokenizer.from_file(str(tiny_model / "tokenizer.json")),
        window_tokens=16,
        overlap_tokens=4,
        special_tokens=2,
    )


@pytest.mark.parametrize("prefetched", [[], TEXTS[:4], TEXTS, ["another", *TEXTS[4:]]])
def test_a_scorer_gives_the_same_outcomes(reader: TextTokenizer, prefetched: list[object]) -> None:
    jobs: list[list[object]] = [TEXTS[:3], TEXTS, [], ["one more"]]
    plain, prefetching = (
        EngineScorer(
            ScriptedEngine(), reader, limits=Limits(), batch_tokens=64, prefetches=is_ahead
        )
        for is_ahead in (False, True)
    )
    expected = plain.score(jobs)
    prefetching.prefetch([prefetched, []])
    assert prefetching.score(jobs) == expected
    assert prefetching.score(jobs) == expected


def test_two_threads_may_tokenize_at_once(reader: TextTokenizer) -> None:
    texts = [f"a good day number {number} at the river station" for number in range(2000)]
    scorer = EngineScorer(
        ScriptedEngine(), reader, limits=Limits(), batch_tokens=4096, prefetches=True
    )
    expected = Preprocessor(reader, Limits()).preprocess(texts)
    scorer.prefetch([texts[:1000]])
    assert scorer._preprocessor.preprocess(texts[1000:]) == expected[1000:]
    assert scorer._prefetcher is not None
    assert scorer._prefetcher.preprocess(texts) == expected


def test_only_texts_for_the_local_provider_are_prefetched() -> None:
    local, hub = ScriptedProvider("local"), ScriptedProvider("hub")
    fallback = FallbackProvider(
        local, hub, policy=lambda queue: "hub" if queue == "far" else "local", breaker=Breaker("l")
    )
    jobs = [
        ScriptedJob(["a"]),
        ScriptedJob(["b"], queue="far"),
        ScriptedJob(["c"], queue="far", is_local_only=True),
    ]
    fallback.prefetch(jobs)
    assert (local.prefetched_texts, hub.prefetched_texts) == (["a", "c"], [])
    fallback.stop()


def test_prefetch_is_optional_for_a_scorer(reader: TextTokenizer) -> None:
    LocalProvider(lambda: pytest.fail("it loads a model")).prefetch([ScriptedJob(["a"])])
    scorer = EngineScorer(ScriptedEngine(), reader, limits=Limits(), batch_tokens=64)
    provider = LocalProvider(lambda: scorer)
    provider.start()
    provider.prefetch([ScriptedJob(["a"])])
    assert scorer._prefetcher is None


def test_a_job_that_would_keep_others_waiting_is_not_prefetched(reader: TextTokenizer) -> None:
    scorer = EngineScorer(
        ScriptedEngine(), reader, limits=Limits(), batch_tokens=64, prefetches=True
    )
    assert scorer._prefetcher is not None
    scorer.prefetch([["a" * 60_000, "b" * 60_000], ["a small text"]])
    (prefetch,) = scorer._prefetcher._prefetches
    assert prefetch.texts == {"a small text"}
