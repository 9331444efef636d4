"""Texts as a model reads them: checked and split into windows of tokens, or the error of a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from sentq.contract import (
    MAX_PARTS_PER_TEXT,
    ErrorCode,
    Limits,
    TextError,
    check_text,
    check_words,
)
from sentq_worker.scoring.language_rule import LanguageRule, TextLanguage
from sentq_worker.scoring.markdown import without_markup
from sentq_worker.scoring.parts import DetailedText, FoundPart, find_parts, is_in_windows
from sentq_worker.scoring.segments import Span
from sentq_worker.scoring.windows import PartTokens, TextTokenizer, TextTokens
from sentq_worker.settings import Cleaning

__all__ = ["PreprocessedText", "Preprocessor", "readable_text"]

#: The tokens of a text, or the reason why it cannot be scored.
PreprocessedText = TextTokens | TextError


class _Checked(NamedTuple):
    """What is read of a text, its language, and its parts if they are scored."""

    readable: str
    language: TextLanguage | None
    parts: Sequence[FoundPart] | None = None


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
        checked = [self._check(text) for text in texts]
        strings: list[str] = []
        for found in checked:
            if not isinstance(found, TextError):
                strings.append(found.readable)
                strings += _other_strings(found)
        tokens = iter(self._tokenise(strings))
        accepted = [
            found if isinstance(found, TextError) else _accepted(found, tokens) for found in checked
        ]
        return [
            self._with_windows(text, found) if is_in_windows(text) else found
            for text, found in zip(texts, accepted, strict=True)
        ]

    def _with_windows(self, text: DetailedText, found: PreprocessedText) -> PreprocessedText:
        """Return a text of which the windows are the parts."""
        if isinstance(found, TextError):
            return found
        readable = text.text
        original: Callable[[int, int], tuple[int, int]] = Span
        if self._clean != "none":
            cleaned = without_markup(text.text, self._clean)
            readable, original = cleaned.text, cleaned.original
        spans = self._tokenizer.window_spans(readable)
        size = -(-len(spans) // MAX_PARTS_PER_TEXT)
        parts = [
            PartTokens(
                *original(spans[first][0], spans[first : first + size][-1][1]),
                None,
                slice(first, first + size),
            )
            for first in range(0, len(spans), size)
        ]
        return replace(found, parts=parts)

    def _check(self, text: object) -> TextError | _Checked:
        """Return why a text is not scored, or what is read of it."""
        sent = text.text if isinstance(text, DetailedText) else text
        readable = readable_text(sent, self._limits, clean=self._clean)
        if isinstance(readable, TextError):
            return readable
        language = None if self._languages is None else self._languages.examine(readable)
        if isinstance(language, TextError):
            return language
        if not isinstance(text, DetailedText) or is_in_windows(text):
            return _Checked(readable, language)
        code = language.code if language and language.is_supported is not None else None
        parts = find_parts(text, readable, clean=self._clean, language=code)
        return _Checked(readable, language, parts)

    def _tokenise(self, texts: list[str]) -> list[PreprocessedText]:
        try:
            return [*self._tokenizer.tokenise(texts)]
        except Exception:  # noqa: BLE001 - one text fails the whole call, and halving finds it
            if len(texts) <= 1:
                return [_NOT_TOKENISED] * len(texts)
            half = len(texts) // 2
            return [*self._tokenise(texts[:half]), *self._tokenise(texts[half:])]


def readable_text(text: object, limits: Limits, *, clean: Cleaning) -> str | TextError:
    """Return what a model reads of a text, or why it cannot be scored by any model.

    Args:
        text: A text, or what stands in the place of one.
        limits: The contract's limits. They hold for the text as it was sent.
        clean: What is left out.
    """
    problem = check_text(text, limits)
    if problem is not None:
        return problem
    readable = str(text) if clean == "none" else without_markup(str(text), clean).text
    return check_words(readable) or readable


def _other_strings(text: _Checked) -> Iterator[str]:
    """Yield the parts of a text that are tokenised on their own."""
    for part in text.parts or ():
        if part.text != text.readable:
            yield part.text


def _accepted(text: _Checked, tokens: Iterator[PreprocessedText]) -> PreprocessedText:
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
        return _EMPTY
    if text.parts is not None:
        parts: list[PartTokens] = []
        of_parts = iter(others)
        for part in text.parts:
            own = None if part.text == text.readable else next(of_parts)
            if isinstance(own, TextError):
                return own
            if own is None or own.tokens:
                parts.append(PartTokens(part.start, part.end, own))
        found = replace(found, parts=parts)
    return found if text.language is None else replace(found, language=text.language)


_EMPTY = TextError(code=ErrorCode.EMPTY_TEXT, message="there is nothing to score in this text")
_NOT_TOKENISED = TextError(
    code=ErrorCode.INFERENCE_FAILED, message="the tokenizer failed on this text, also alone"
)
