"""A loaded model, with what the engine needs of its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer

from sentq_worker.inference.classifier import Classifier

__all__ = ["LoadedModel"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on the CPU, for inference, and its tokenizer.

    Attributes:
        model: The model, in fp32 or in the dtype of its file.
        tokenizer: Its tokenizer.
        max_tokens: The tokenizer's limit of a window, special tokens included. A tokenizer without
            one has 1e30.
    """

    model: Classifier
    tokenizer: Tokenizer
    max_tokens: int

    @property
    def special_tokens(self) -> int:
        """How many tokens the tokenizer adds to a window."""
        count: int = self.tokenizer.num_special_tokens_to_add(is_pair=False)
        return count
