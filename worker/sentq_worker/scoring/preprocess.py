"""Texts as a model reads them: checked and split into windows of tokens, or the error of a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from sentq.contract import (
    EMPTY_TEXT,
    MAX_PARTS_PER_TEXT,
    ErrorCode,
    Limits,
    TextError,
    check_text,
    check_words,
)
from sentq_worker.scoring.language_rule import LanguageRule, TextLanguage
from sentq_worker.scoring.markdown import without_markup
from sentq_worker.scoring.parts import (
    DetailedText,
    FoundPart,
    Places,
    find_parts,
    is_in_windows,
)
from sentq_worker.scoring.segments import Span
from sentq_worker.scoring.windows import PartTokens, TextTokenizer, TextTokens
from sentq_worker.settings import Cleaning

__all__ = ["PreprocessedText", "Preprocessor", "ReadText", "read_text"]

#: The tokens of a text, or the reason why it cannot be scored.
PreprocessedText = TextTokens | TextError


class ReadText(NamedTuple):
    """What a model reads of a text.

    Attributes:
        readable: The text, without what is left out.
        language: Its language; None if it was not detected, or the text has no letters.
        parts: Its sentences or paragraphs; None if they are not scored.
        original: Where what is read stood in the text as it was sent, if the parts of the text are
            the windows in which the model reads it; else None.
    """

    readable: str
    language: TextLanguage | None
    parts: Sequence[FoundPart] | None = None
    original: Places | None = None


class Preprocessor:
    """Checks, cleans and tokenises texts. Many threads may use it.

    Args:
        tokenizer: Splits texts into windows.
        limits: The contract's limits.
        languages: Examines the languages of texts; None if no languages are detected.
        clean: What is left out of texts.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        limits: Limits,
        languages: LanguageRule | None = None,
        *,
        clean: Cleaning = "none",
    ) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._languages = languages
        self._clean: Cleaning = clean

    def with_languages(self, languages: LanguageRule | None) -> Preprocessor:
        """Return what does the same by another rule of languages."""
        return Preprocessor(self._tokenizer, self._limits, languages, clean=self._clean)

    def preprocess(self, texts: Sequence[object]) -> list[PreprocessedText]:
        """Preprocess texts, in order. A text with a problem affects no other.

        Args:
            texts: Texts, each in a `DetailedText` if its parts are scored, too.
        """
        read = [read_text(each, self._limits, self._languages, clean=self._clean) for each in texts]
        strings: list[str] = []
        for found in read:
            if not isinstance(found, TextError):
                strings.append(found.readable)
                strings += _other_strings(found)
        tokens = iter(self._tokenise(strings))
        return [
            found if isinstance(found, TextError) else self._accepted(found, tokens)
            for found in read
        ]

    def _accepted(self, text: ReadText, tokens: Iterator[PreprocessedText]) -> PreprocessedText:
        """Return the tokens of a text with what else is known of it, or the error of an empty one.

        Args:
            text: The text.
            tokens: The tokens of it and of its parts are the next ones.
        """
        found = next(tokens)
        others = [next(tokens) for _ in _other_strings(text)]
        if isinstance(found, TextError):
            return found
        if found.tokens == 0:
            return EMPTY_TEXT
        if text.parts is not None:
            parts = _part_tokens(text, text.parts, iter(others))
            if isinstance(parts, TextError):
                return parts
            found = replace(found, parts=parts)
        elif text.original is not None:
            found = replace(found, parts=self._windows(text.readable, text.original))
        return found if text.language is None else replace(found, language=text.language)

    def _windows(self, readable: str, original: Places) -> list[PartTokens]:
        """Return the windows of a text as its parts."""
        spans = self._tokenizer.window_spans(readable)
        size = -(-len(spans) // MAX_PARTS_PER_TEXT)
        return [
            PartTokens(
                *original(spans[first][0], spans[first : first + size][-1][1]),
                None,
                slice(first, first + size),
            )
            for first in range(0, len(spans), size)
        ]

    def _tokenise(self, texts: list[str]) -> list[PreprocessedText]:
        try:
            return [*self._tokenizer.tokenise(texts)]
        except Exception:  # noqa: BLE001 - one text fails the whole call, and halving finds it
            if len(texts) <= 1:
                return [_NOT_TOKENISED] * len(texts)
            half = len(texts) // 2
            return [*self._tokenise(texts[:half]), *self._tokenise(texts[half:])]


def read_text(
    text: object, limits: Limits, languages: LanguageRule | None = None, *, clean: Cleaning
) -> ReadText | TextError:
    """Return what a model reads of a text, or why it cannot be scored by any model.

    Args:
        text: A text, or what stands in the place of one.
        limits: The contract's limits. They hold for the text as it was sent.
        languages: Examines its language; None if no languages are detected.
        clean: What is left out.
    """
    sent = text.text if isinstance(text, DetailedText) else text
    problem = check_text(sent, limits)
    if problem is not None:
        return problem
    readable = str(sent)
    original: Places = Span
    if clean != "none":
        cleaned = without_markup(readable, clean)
        readable, original = cleaned.text, cleaned.original
    problem = check_words(readable)
    if problem is not None:
        return problem
    language = None if languages is None else languages.examine(readable)
    if isinstance(language, TextError):
        return language
    if not isinstance(text, DetailedText):
        return ReadText(readable, language)
    if is_in_windows(text):
        return ReadText(readable, language, original=original)
    code = language.code if language and language.is_supported is not None else None
    return ReadText(readable, language, find_parts(readable, text.detail, original, language=code))


def _other_strings(text: ReadText) -> Iterator[str]:
    """Yield the parts of a text that are tokenised on their own."""
    for part in text.parts or ():
        if part.text != text.readable:
            yield part.text


def _part_tokens(
    text: ReadText, parts: Sequence[FoundPart], tokens: Iterator[PreprocessedText]
) -> list[PartTokens] | TextError:
    """Return the tokens of parts, or the error of one of them.

    Args:
        text: The text.
        parts: Its parts.
        tokens: The tokens of those that are tokenised on their own, in order.
    """
    found: list[PartTokens] = []
    for part in parts:
        own = None if part.text == text.readable else next(tokens)
        if isinstance(own, TextError):
            return own
        if own is None or own.tokens:
            found.append(PartTokens(part.start, part.end, own))
    return found


_NOT_TOKENISED = TextError(
    code=ErrorCode.INFERENCE_FAILED, message="the tokenizer failed on this text, also alone"
)
