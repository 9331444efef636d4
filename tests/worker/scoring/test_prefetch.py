"""Reading ahead changes when a text is read, and nothing else."""

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
from sentq_worker.scoring.scorer import Scorer
from sentq_worker.scoring.windows import TextTokenizer, TextTokens
from tests.support.models.engines import ScriptedEngine
from tests.support.models.providers import ScriptedJob, ScriptedProvider

TEXTS: list[object] = ["a good day", "awful", "", "x" * 300, 7, None, "\ud800", "so sad, so dull"]


class _Reads:
    """Reads a text as its length; keeps who read what. Waits while the gate is closed."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails_ahead = False

    def __call__(self, texts: Sequence[object]) -> list[PreprocessedText]:
        name = threading.current_thread().name
        self.calls.append((name, sorted(map(str, texts))))
        assert self.gate.wait(10)
        if self.fails_ahead and name.startswith("sentq-ahead"):
            raise MemoryError
        return [TextTokens([], len(str(text))) for text in texts]

    @property
    def here(self) -> list[list[str]]:
        """What was read by whoever wanted it."""
        return [texts for name, texts in self.calls if not name.startswith("sentq-ahead")]


def _lengths(found: Sequence[PreprocessedText]) -> list[int]:
    return [read.tokens for read in found if isinstance(read, TextTokens)]


def test_prefetched_texts_are_not_read_again_and_others_are_read_on_demand() -> None:
    reads = _Reads()
    ahead = Prefetcher(reads)
    ahead.begin(["a", "bb", 3])
    assert _lengths(ahead.read(["ccc", "bb", 4444, "a"])) == [3, 2, 4, 1]
    assert reads.here == [["4444", "ccc"]]


def test_a_text_being_prefetched_is_awaited() -> None:
    reads = _Reads()
    reads.gate.clear()
    ahead = Prefetcher(reads)
    ahead.begin(["a"])
    threading.Timer(0.2, reads.gate.set).start()
    assert _lengths(ahead.read(["a"])) == [1]
    assert reads.here == [[]]


def test_a_text_is_prefetched_once_and_returned_once() -> None:
    reads = _Reads()
    ahead = Prefetcher(reads)
    ahead.begin(["a", "bb"])
    ahead.begin(["bb", "ccc"])
    assert _lengths(ahead.read(["a", "bb", "ccc"])) == [1, 2, 3]
    assert sorted(texts for _, texts in reads.calls) == [[], ["a", "bb"], ["ccc"]]
    assert _lengths(ahead.read(["a"])) == [1]
    assert reads.here == [[], ["a"]], "nothing is kept of what was given out"


def test_a_failed_prefetch_is_ignored() -> None:
    reads = _Reads()
    reads.fails_ahead = True
    ahead = Prefetcher(reads)
    ahead.begin(["a"])
    assert _lengths(ahead.read(["a"])) == [1]
    assert reads.here == [["a"]]


def test_unused_prefetched_texts_are_discarded() -> None:
    reads = _Reads()
    ahead = Prefetcher(reads)
    for number in range(9):
        ahead.begin([f"text {number}"])
    ahead.read([f"text {number}" for number in range(9)])
    assert reads.here == [[f"text {number}" for number in range(7)]]


@pytest.fixture
def reader(tiny_model: Path) -> TextTokenizer:
    return TextTokenizer(
        Tokenizer.from_file(str(tiny_model / "tokenizer.json")),
        window_tokens=16,
        overlap_tokens=4,
        special_tokens=2,
    )


@pytest.mark.parametrize("begun", [[], TEXTS[:4], TEXTS, ["another", *TEXTS[4:]]])
def test_a_scorer_gives_the_same_outcomes(reader: TextTokenizer, begun: list[object]) -> None:
    jobs: list[list[object]] = [TEXTS[:3], TEXTS, [], ["one more"]]
    plain, ahead = (
        Scorer(ScriptedEngine(), reader, limits=Limits(), batch_tokens=64, prefetches=is_ahead)
        for is_ahead in (False, True)
    )
    expected = plain.score(jobs)
    ahead.prefetch([begun, []])
    assert ahead.score(jobs) == expected
    assert ahead.score(jobs) == expected


def test_two_threads_may_tokenize_at_once(reader: TextTokenizer) -> None:
    texts = [f"a good day number {number} at the river station" for number in range(2000)]
    scorer = Scorer(ScriptedEngine(), reader, limits=Limits(), batch_tokens=4096, prefetches=True)
    expected = Preprocessor(reader, Limits()).read(texts)
    scorer.prefetch([texts[:1000]])
    assert scorer._preprocessor.read(texts[1000:]) == expected[1000:]
    assert scorer._prefetcher is not None
    assert scorer._prefetcher.read(texts) == expected


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
    assert (local.read, hub.read) == (["a", "c"], [])
    fallback.stop()


def test_prefetch_is_optional_for_a_scorer(reader: TextTokenizer) -> None:
    LocalProvider(lambda: pytest.fail("nothing is loaded yet")).prefetch([ScriptedJob(["a"])])
    scorer = Scorer(ScriptedEngine(), reader, limits=Limits(), batch_tokens=64)
    house = LocalProvider(lambda: scorer)
    house.start()
    house.prefetch([ScriptedJob(["a"])])
    assert scorer._prefetcher is None
