"""Texts as a model reads them: checked and split into windows of tokens, or the error of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sentq.contract import ErrorCode, Limits, TextError, check_text
from sentq_worker.scoring.language_rule import LanguageRule, TextLanguage
from sentq_worker.scoring.windows import TextTokenizer, TextTokens

__all__ = ["PreprocessedText", "Preprocessor", "find_problem"]

#: The tokens of a text, or the reason why it cannot be scored.
PreprocessedText = TextTokens | TextError


class Preprocessor:
    """Checks and tokenises texts. Many threads may use it.

    Args:
        tokenizer: Splits texts into windows.
        limits: The contract's limits.
        languages: Examines the languages of texts; None if no languages are detected.
    """

    def __init__(
        self, tokenizer: TextTokenizer, limits: Limits, languages: LanguageRule | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._languages = languages

    def preprocess(self, texts: Sequence[object]) -> list[PreprocessedText]:
        """Preprocess texts, in order. A text with a problem affects no other."""
        checked = [self._check(text) for text in texts]
        valid = [
            text
            for text, found in zip(texts, checked, strict=True)
            if not isinstance(found, TextError) and isinstance(text, str)
        ]
        tokens = iter(self._tokenise(valid))
        return [
            found if isinstance(found, TextError) else _accepted(next(tokens), found)
            for found in checked
        ]

    def _check(self, text: object) -> TextError | TextLanguage | None:
        """Return why a text is not scored, or its language."""
        problem = find_problem(text, self._limits)
        if problem is not None or self._languages is None or not isinstance(text, str):
            return problem
        return self._languages.examine(text)

    def _tokenise(self, texts: list[str]) -> list[PreprocessedText]:
        try:
            return [*self._tokenizer.tokenise(texts)]
        except Exception:  # noqa: BLE001 - one text fails the whole call, and halving finds it
            if len(texts) <= 1:
                return [_NOT_TOKENISED] * len(texts)
            half = len(texts) // 2
            return [*self._tokenise(texts[:half]), *self._tokenise(texts[half:])]


def find_problem(text: object, limits: Limits) -> TextError | None:
    """Return why a text cannot be scored by any model; None if it can."""
    problem = check_text(text, limits)
    is_empty = problem is None and isinstance(text, str) and not text.strip()
    return _EMPTY if is_empty else problem


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
