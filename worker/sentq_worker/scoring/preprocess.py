"""Texts as a model reads them: checked and split into windows of tokens, or the error of a text."""

from __future__ import annotations

from collections.abc import Sequence

from sentq.contract import ErrorCode, Limits, TextError, check_text
from sentq_worker.scoring.windows import TextTokenizer, TextTokens

__all__ = ["PreprocessedText", "Preprocessor", "find_problem"]

#: The tokens of a text, or the reason why it cannot be scored.
PreprocessedText = TextTokens | TextError


class Preprocessor:
    """Checks and tokenises texts. Many threads may use it."""

    def __init__(self, tokenizer: TextTokenizer, limits: Limits) -> None:
        self._tokenizer = tokenizer
        self._limits = limits

    def preprocess(self, texts: Sequence[object]) -> list[PreprocessedText]:
        """Preprocess texts, in order. A text with a problem affects no other."""
        problems = [find_problem(text, self._limits) for text in texts]
        valid = [
            text
            for text, problem in zip(texts, problems, strict=True)
            if problem is None and isinstance(text, str)
        ]
        tokens = iter(self._tokenise(valid))
        return [problem or _reject_empty(next(tokens)) for problem in problems]

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


def _reject_empty(text: PreprocessedText) -> PreprocessedText:
    return _EMPTY if isinstance(text, TextTokens) and text.tokens == 0 else text


_EMPTY = TextError(code=ErrorCode.EMPTY_TEXT, message="there is nothing to score in this text")
_NOT_TOKENISED = TextError(
    code=ErrorCode.INFERENCE_FAILED, message="the tokenizer failed on this text, also alone"
)
