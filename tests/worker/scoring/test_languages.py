"""Languages of texts: which are detected, which count as supported, and what is refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sentq.contract import ErrorCode, Limits, Prediction, TextError
from sentq_worker.scoring.language_detector import Detection, LanguageDetector
from sentq_worker.scoring.language_rule import LanguageRule, TextLanguage
from sentq_worker.scoring.scorer import EngineScorer
from sentq_worker.scoring.windows import TextTokenizer
from tests.support.models.engines import ScriptedEngine

GERMAN = "Das Zimmer war schmutzig und das Frühstück kalt."
ENGLISH = "The room was dirty and the breakfast was cold."

SENTENCES = {
    "ar": "الخدمة كانت سيئة جدا ولن أعود مرة أخرى",
    "de": GERMAN,
    "en": ENGLISH,
    "es": "La habitación estaba sucia y el desayuno frío.",
    "fr": "La chambre était sale et le petit déjeuner froid.",
    "hi": "कमरा गंदा था और नाश्ता ठंडा था",
    "it": "La camera era sporca e la colazione fredda.",
    "ja": "部屋は汚くて、朝食は冷たかったです。",
    "pt": "O quarto estava sujo e o café da manhã estava frio.",
    "ru": "Номер был очень грязным, завтрак холодным.",
    "zh": "房间很脏,早餐是冷的。",
}


@pytest.fixture(scope="module")
def detector() -> LanguageDetector:
    return LanguageDetector()


@pytest.fixture
def reader(tiny_model: Path) -> TextTokenizer:
    return TextTokenizer(
        Tokenizer.from_file(str(tiny_model / "tokenizer.json")),
        window_tokens=16,
        overlap_tokens=4,
        special_tokens=2,
    )


class _Scripted:
    """Detects the same language in each text, and counts the calls."""

    def __init__(self, code: str, confidence: float) -> None:
        self._detection = Detection(code, confidence)
        self.texts: list[str] = []

    def detect(self, text: str) -> Detection | None:
        self.texts.append(text)
        return self._detection


def _rule(
    detector: LanguageDetector | _Scripted, *, refuses: bool = False, min_confidence: float = 0.6
) -> LanguageRule:
    return LanguageRule(detector, ["en"], refuses=refuses, min_confidence=min_confidence)


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_in_its_language(detector: LanguageDetector, code: str) -> None:
    assert code in detector.codes
    found = detector.detect(SENTENCES[code])
    assert found is not None
    assert found.code == code
    assert 0.6 < found.confidence <= 1


def test_capitals_line_breaks_names_and_links_change_nothing(detector: LanguageDetector) -> None:
    plain = detector.detect("the room was dirty")
    assert plain is not None
    assert plain.code == "en"
    for same in (
        "THE ROOM WAS DIRTY",
        "the room\nwas\r\n dirty",
        "@Müller_Straße @user the room was dirty https://example.de/zimmer?frage=schmutzig",
        "the room was dirty http",
    ):
        assert detector.detect(same) == plain


@pytest.mark.parametrize(
    "text", ["", " ", "5/5", "🤷🏽 😂", "!!!", "\0\0", "@user", "https://a.b/c"]
)
def test_a_text_without_letters_has_no_language(detector: LanguageDetector, text: str) -> None:
    assert detector.detect(text) is None


def test_variants_count_as_their_macrolanguage(detector: LanguageDetector) -> None:
    assert {"ar", "zh"} <= detector.codes
    assert not {"arz", "yue", "wuu"} & detector.codes


def test_only_the_beginning_of_a_long_text_is_read(detector: LanguageDetector) -> None:
    beginning = (ENGLISH + " ") * 30
    assert detector.detect(beginning + GERMAN * 1000) == detector.detect(beginning)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_valid_text_has_a_language_or_none(text: str) -> None:
    found = _SHARED.detect(text)
    assert found is None or (found.code in _SHARED.codes and 0 <= found.confidence <= 1)


_SHARED = LanguageDetector()


def test_threads_share_a_detector(detector: LanguageDetector) -> None:
    texts = [*SENTENCES.values()] * 200
    expected = [detector.detect(text) for text in texts]
    together = threading.Barrier(4)

    def detect_all() -> list[Detection | None]:
        together.wait(10)
        return [detector.detect(text) for text in texts]

    with ThreadPoolExecutor(4) as pool:
        for found in [pool.submit(detect_all) for _ in range(4)]:
            assert found.result() == expected


@pytest.mark.parametrize(
    ("code", "confidence", "is_supported"),
    [
        ("en", 0.9, True),
        ("en", 0.6, True),
        ("en", 0.59, None),
        ("de", 0.9, False),
        ("de", 0.5, None),
    ],
)
def test_a_language_counts_only_with_enough_confidence(
    *, code: str, confidence: float, is_supported: bool | None
) -> None:
    examined = _rule(_Scripted(code, confidence), refuses=is_supported is not False).examine("text")
    assert examined == TextLanguage(code, confidence, is_supported)


def test_a_refused_text_has_an_error_that_names_the_languages() -> None:
    refused = _rule(_Scripted("de", 0.97), refuses=True).examine("CANARY")
    assert isinstance(refused, TextError)
    assert refused.code is ErrorCode.UNSUPPORTED_LANGUAGE
    assert refused.message == (
        "the text is in the language de, with a confidence of 0.97; the model reads en"
    )


@pytest.mark.parametrize("prefetches", [False, True])
def test_outcomes_name_the_language(
    *, reader: TextTokenizer, detector: LanguageDetector, prefetches: bool
) -> None:
    scorer = EngineScorer(
        ScriptedEngine(),
        reader,
        limits=Limits(),
        batch_tokens=64,
        prefetches=prefetches,
        languages=_rule(detector),
    )
    texts: list[object] = [ENGLISH, GERMAN, "5/5", "", 7]
    scorer.prefetch([texts])
    (outcomes,) = scorer.score([texts])
    english, german, rating, *errors = outcomes
    assert isinstance(english, Prediction)
    assert (english.language, english.language_supported) == ("en", True)
    assert isinstance(german, Prediction)
    assert (german.language, german.language_supported) == ("de", False)
    assert isinstance(rating, Prediction)
    assert (rating.language, rating.language_confidence, rating.language_supported) == (None,) * 3
    assert [error.code for error in errors if isinstance(error, TextError)] == [
        ErrorCode.EMPTY_TEXT,
        ErrorCode.NOT_A_STRING,
    ]


def test_a_refused_text_costs_no_inference_and_affects_no_other(
    reader: TextTokenizer, detector: LanguageDetector
) -> None:
    def scorer(languages: LanguageRule | None) -> tuple[ScriptedEngine, EngineScorer]:
        engine = ScriptedEngine()
        return engine, EngineScorer(
            engine, reader, limits=Limits(), batch_tokens=64, languages=languages
        )

    engine, refusing = scorer(_rule(detector, refuses=True))
    first, german, second = refusing.score([[ENGLISH, GERMAN, "the food was good"]])[0]
    assert isinstance(german, TextError)
    assert german.code is ErrorCode.UNSUPPORTED_LANGUAGE
    plain_engine, plain = scorer(None)
    expected = plain.score([[ENGLISH, "the food was good"]])[0]
    for outcome, same in zip((first, second), expected, strict=True):
        assert isinstance(outcome, Prediction)
        assert isinstance(same, Prediction)
        assert (outcome.scores, outcome.tokens) == (same.scores, same.tokens)
    assert engine.batches == plain_engine.batches


def test_a_repeated_text_is_examined_once(reader: TextTokenizer) -> None:
    scripted = _Scripted("en", 0.9)
    scorer = EngineScorer(
        ScriptedEngine(), reader, limits=Limits(), batch_tokens=64, languages=_rule(scripted)
    )
    scorer.score([["a good day"] * 3, ["a good day", "awful"]])
    assert scripted.texts == ["a good day", "awful"]
