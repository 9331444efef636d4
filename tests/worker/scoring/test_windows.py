"""The windows of a long text: how they are joined, and as its parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

import sentq_model
from sentq.contract import MAX_PARTS_PER_TEXT, Limits, Prediction
from sentq_worker.engine.base import Window
from sentq_worker.scoring.parts import with_detail
from sentq_worker.scoring.scorer import EngineScorer
from sentq_worker.scoring.windows import TextTokenizer, TextTokens, join
from sentq_worker.settings import Cleaning
from tests.support.models.engines import ScriptedEngine

#: The probabilities of a calm window and of a strong one.
CALM, ANGRY = [0.3, 0.7], [0.95, 0.05]


def _scorer(*, clean: Cleaning = "none") -> tuple[EngineScorer, ScriptedEngine]:
    """Return a scorer with windows of 22 tokens of their own, four of which overlap. A window with
    an exclamation mark is angry."""
    tokenizer = Tokenizer.from_file(str(Path(sentq_model.folder()) / "tokenizer.json"))
    angry = tokenizer.token_to_id("!")
    engine = ScriptedEngine(row=lambda window: ANGRY if angry in window.token_ids else CALM)
    splitter = TextTokenizer(tokenizer, window_tokens=24, overlap_tokens=4, special_tokens=2)
    return EngineScorer(engine, splitter, limits=Limits(), batch_tokens=512, clean=clean), engine


@pytest.mark.parametrize("clean", ["none", "html"])
def test_the_windows_of_a_text_are_its_parts_and_are_read_once(clean: Cleaning) -> None:
    scorer, engine = _scorer(clean=clean)
    text = "The room was clean and quiet. " * 9 + "I want my money back!"
    (found, short) = scorer.score([with_detail([text, "Good."], "windows")])[0]
    assert isinstance(found, Prediction)
    assert isinstance(short, Prediction)
    assert found.parts is not None
    assert found.windows == len(found.parts) > 2
    assert sum(map(len, engine.batches)) == found.windows + short.windows
    assert [(part.start, part.end) for part in short.parts or ()] == [(0, 5)]
    *calm, last = found.parts
    assert {part.label for part in calm} == {"positive"}
    assert (last.label, last.end) == ("negative", len(text))
    assert text[last.start : last.end].endswith("I want my money back!")
    for one, other in zip(found.parts, found.parts[1:], strict=False):
        assert one.start < other.start < one.end < other.end
    assert found.label == "positive", "the mean hides the last window"


def test_of_too_many_windows_neighbours_are_one_part() -> None:
    scorer, _ = _scorer()
    text = "very good " * 3000
    (found,) = scorer.score([with_detail([text], "windows")])[0]
    assert isinstance(found, Prediction)
    assert found.windows > MAX_PARTS_PER_TEXT
    assert found.parts is not None
    assert len(found.parts) <= MAX_PARTS_PER_TEXT
    assert (found.parts[0].start, found.parts[-1].end) == (0, len(text.rstrip()))


def test_extremes_let_a_strong_window_count_more_than_calm_ones() -> None:
    windows = [Window([0] * 22, 20), Window([0] * 22, 20), Window([0] * 12, 10)]
    text = TextTokens(windows, 50)

    def joined(**options: object) -> list[float]:
        return join(text, [CALM, CALM, ANGRY], rule="extremes", **options)  # type: ignore[arg-type]

    strengths = [20 * 0.4**2, 20 * 0.4**2, 10 * 0.9**2]
    expected = (0.3 * sum(strengths[:2]) + 0.95 * strengths[2]) / sum(strengths)
    assert joined(sentiment=lambda row: row[1] - row[0])[0] == pytest.approx(expected)
    without_polarity = joined(sentiment=lambda _: None)
    assert without_polarity == pytest.approx(join(text, [CALM, CALM, ANGRY]))
