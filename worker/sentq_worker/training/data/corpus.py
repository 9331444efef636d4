"""The rows of all files as token ids and label numbers, split in training and validation."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sentq_worker.training.data.rows import Columns, Rows, read_rows
from sentq_worker.training.data.windows import special_token_counts
from sentq_worker.training.errors import TrainingDataError, TrainingOptionsError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from sentq_worker.training.data.rows import Filter, Source

__all__ = ["Corpus", "EncodedRows", "encode", "hold_out", "label_order", "read_corpus"]

#: Share of a source's rows that is held out for validation.
HELD_OUT = 0.05

_PLAIN_COLUMNS = Columns()

#: Far more characters than a token has in any script: what lies behind them is cut off anyway.
_CHARS_PER_TOKEN = 32

_SENTIMENTS = ("negative", "neutral", "positive")
_ROWS_PER_CALL = 1024


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Rows as the model sees them: token ids with special tokens, and label numbers.

    `special_tokens` counts the special tokens before and behind a row's own.
    """

    name: str
    token_ids: list[array[int]]
    targets: list[int]
    special_tokens: tuple[int, int]

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is trained and validated on, still as text."""

    labels: tuple[str, ...]
    training: tuple[Rows, ...]
    weights: tuple[float, ...]
    validation: tuple[Rows, ...]

    @property
    def digest(self) -> str:
        """Identifies the rows, their order and their labels."""
        digests = [rows.digest for rows in (*self.training, *self.validation)]
        return hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()

    def seen_in_training(self, rows: Rows) -> int:
        """Count the validation rows whose text, case and spaces aside, is trained on too."""
        known = {_plain(text) for source in self.training for text in source.texts}
        return sum(_plain(text) in known for text in rows.texts)


def read_corpus(
    sources: Sequence[Source],
    *,
    filters: Sequence[Filter] = (),
    validation: Sequence[Path] = (),
    validation_filters: Sequence[Filter] = (),
    held_out: Sequence[str] = (),
    columns: Columns = _PLAIN_COLUMNS,
    seed: int = 1,
) -> Corpus:
    """Read all files.

    About 5% of the rows are held out for validation: of the sources that `held_out` names, or of
    all when it is empty and there are no validation files either.

    Raises:
        TrainingDataError: a file or a row is bad, there are fewer than two labels, validation
            rows have a label that training rows lack, or nothing is left to validate on.
        TrainingOptionsError: `held_out` names no source.
    """
    training = [read_rows(source.path, filters, columns) for source in sources]
    checked = [read_rows(path, validation_filters, columns) for path in validation]
    names = {rows.name for rows in training}
    if strange := sorted(set(held_out) - names):
        raise TrainingOptionsError(f"--hold-out {strange[0]} is none of the data: {sorted(names)}")
    if held_out or not checked:
        training, held = hold_out(training, seed=seed, names=held_out or names)
        checked += held
    labels = label_order({label for rows in training for label in rows.labels})
    for rows in checked:
        if strange := sorted(set(rows.labels) - set(labels)):
            raise TrainingDataError(f"{rows.name} has labels that no training row has: {strange}")
    weights = tuple(source.weight for source in sources)
    return Corpus(labels, tuple(training), weights, tuple(checked))


def label_order(labels: set[str]) -> tuple[str, ...]:
    """Order the labels: negative, (neutral,) positive if these they are, else by name.

    Raises:
        TrainingDataError: there is only one.
    """
    if len(labels) < 2:  # noqa: PLR2004 - one label is nothing to choose from
        raise TrainingDataError("training needs rows of at least two labels")
    if labels <= set(_SENTIMENTS):
        return tuple(label for label in _SENTIMENTS if label in labels)
    return tuple(sorted(labels))


def hold_out(
    training: Sequence[Rows], *, seed: int, names: Collection[str]
) -> tuple[list[Rows], list[Rows]]:
    """Split about 5% off the named sources; all copies of a text in them go to the same side.

    Raises:
        TrainingDataError: one of the sides would be empty.
    """
    kept: list[Rows] = []
    held: list[Rows] = []
    for rows in training:
        chosen = [rows.name in names and _is_held_out(text, seed) for text in rows.texts]
        kept.append(_subset(rows, [not one for one in chosen], name=rows.name))
        if any(chosen):
            held.append(_subset(rows, chosen, name=f"{rows.name} (held out)"))
    if not held or not all(kept):
        raise TrainingDataError("too few rows to hold some out: name a file with --valid")
    return kept, held


def encode(
    rows: Rows, tokenizer: PreTrainedTokenizerBase, *, labels: Sequence[str], max_tokens: int
) -> EncodedRows:
    """Tokenise, keeping the first `max_tokens` tokens of a text, special tokens included."""
    numbers = {label: number for number, label in enumerate(labels)}
    max_chars = max_tokens * _CHARS_PER_TOKEN
    token_ids: list[array[int]] = []
    for start in range(0, len(rows), _ROWS_PER_CALL):
        texts = [text[:max_chars] for text in rows.texts[start : start + _ROWS_PER_CALL]]
        answer = tokenizer(
            texts,
            truncation=True,
            max_length=max_tokens,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        token_ids += [array("i", ids) for ids in answer["input_ids"]]
    special_tokens = special_token_counts(
        tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    )
    return EncodedRows(
        rows.name, token_ids, [numbers[label] for label in rows.labels], special_tokens
    )


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_held_out(text: str, seed: int) -> bool:
    mark = hashlib.blake2b(f"{seed}\0{_plain(text)}".encode(), digest_size=4).digest()
    return int.from_bytes(mark) < HELD_OUT * 2**32


def _subset(rows: Rows, chosen: Sequence[bool], *, name: str) -> Rows:
    texts = [text for text, yes in zip(rows.texts, chosen, strict=True) if yes]
    labels = [label for label, yes in zip(rows.labels, chosen, strict=True) if yes]
    return Rows(name, texts, labels, rows.digest)
