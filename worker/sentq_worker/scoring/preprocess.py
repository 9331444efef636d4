"""Texts as a model reads them: checked, and cut into windows of tokens; or why one cannot be."""

from __future__ import annotations

from collections.abc import Sequence

from sentq.contract import ErrorCode, Limits, TextError, check_text
from sentq_worker.scoring.windows import TextTokenizer, TextTokens

__all__ = ["PreprocessedText", "Preprocessor", "find_problem"]

#: What became of one text.
PreprocessedText = TextTokens | TextError


class Preprocessor:
    """Reads texts. May be used by many threads."""

    def __init__(self, tokenizer: TextTokenizer, limits: Limits) -> None:
        self._tokenizer = tokenizer
        self._limits = limits

    def read(self, texts: Sequence[object]) -> list[PreprocessedText]:
        """Read texts, in order; whatever is wrong with one affects no other."""
        problems = [find_problem(text, self._limits) for text in texts]
        sound = [
            text
            for text, problem in zip(texts, problems, strict=True)
            if problem is None and isinstance(text, str)
        ]
        tokens = iter(self._tokenise(sound))
        return [problem or _unless_empty(next(tokens)) for problem in problems]

    def _tokenise(self, texts: list[str]) -> list[PreprocessedText]:
        try:
            return [*self._tokenizer.tokenise(texts)]
        except Exception:  # noqa: BLE001 - one text fails the whole call; find it
            if len(texts) <= 1:
                return [_UNREADABLE] * len(texts)
            half = len(texts) // 2
            return [*self._tokenise(texts[:half]), *self._tokenise(texts[half:])]


def find_problem(text: object, limits: Limits) -> TextError | None:
    """What is wrong with a text before any model looks at it, if anything is."""
    problem = check_text(text, limits)
    is_empty = problem is None and isinstance(text, str) and not text.strip()
    return _EMPTY if is_empty else problem


def _unless_empty(read: PreprocessedText) -> PreprocessedText:
    return _EMPTY if isinstance(read, TextTokens) and read.tokens == 0 else read


_EMPTY = TextError(code=ErrorCode.EMPTY_TEXT, message="there is nothing to score in this text")
_UNREADABLE = TextError(
    code=ErrorCode.INFERENCE_FAILED, message="the tokenizer failed on this text, also alone"
)
