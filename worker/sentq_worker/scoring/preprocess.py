"""Texts as a model reads them: checked and split into windows of tokens, or the error of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sentq.contract import ErrorCode, Limits, TextError, check_text
from sentq_worker.scoring.language_rule import LanguageRule, TextLanguage
from sentq_worker.scoring.markup import without_html
from sentq_worker.scoring.windows import TextTokenizer, TextTokens
from sentq_worker.settings import Cleaning

__all__ = ["PreprocessedText", "Preprocessor", "readable_text"]

#: The tokens of a text, or the reason why it cannot be scored.
PreprocessedText = TextTokens | TextError


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

    def preprocess(self, texts: Sequence[object]) -> list[PreprocessedText]:
        """Preprocess texts, in order. A text with a problem affects no other."""
        checked = [self._check(text) for text in texts]
        readable = [found[0] for found in checked if not isinstance(found, TextError)]
        tokens = iter(self._tokenise(readable))
        return [
            found if isinstance(found, TextError) else _accepted(next(tokens), found[1])
            for found in checked
        ]

    def _check(self, text: object) -> TextError | tuple[str, TextLanguage | None]:
        """Return why a text is not scored, or what is read of it, and its language."""
        readable = readable_text(text, self._limits, clean=self._clean)
        if isinstance(readable, TextError) or self._languages is None:
            return readable if isinstance(readable, TextError) else (readable, None)
        language = self._languages.examine(readable)
        return language if isinstance(language, TextError) else (readable, language)

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
    readable = str(text) if clean == "none" else without_html(str(text)).text
    return readable if readable.strip() else _EMPTY


def _accepted(text: PreprocessedText, language: TextLanguage | None) -> PreprocessedText:
    """Return a text that was tokenised with its language, or the error of an empty one."""
    if isinstance(text, TextError):
        return text
    if text.tokens == 0:
        return _EMPTY
    return text if language is None else replace(text, language=language)


_EMPTY = TextError(code=ErrorCode.EMPTY_TEXT, message="there is nothing to score in this text")
_NOT_TOKENISED = TextError(
    code=ErrorCode.INFERENCE_FAILED, message="the tokenizer failed on this text, also alone"
)
