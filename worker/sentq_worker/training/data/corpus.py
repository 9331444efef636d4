"""The rows of all sources, split into training and validation, and their tokenisation."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sentq_worker.training.data.rows import Columns, Rows, read_rows, shown_labels
from sentq_worker.training.data.windows import special_token_counts
from sentq_worker.training.errors import TrainingDataError, TrainingOptionsError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from sentq_worker.training.data.rows import Filter, Source

__all__ = [
    "Corpus",
    "EncodedRows",
    "encode",
    "hold_out",
    "label_order",
    "normalised",
    "read_corpus",
]

#: Share of the rows of a source that is held out for validation.
HELD_OUT = 0.05

_PLAIN_COLUMNS = Columns()

#: No script has so many characters per token: the text beyond them is truncated in any case.
_CHARS_PER_TOKEN = 32

_SENTIMENTS = ("negative", "neutral", "positive")
_ROWS_PER_CALL = 1024


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Tokenised rows: token ids with special tokens, and the numbers of the labels.

    `special_tokens` counts the special tokens before and after the tokens of the text.
    `soft_targets` holds the probabilities of all labels of each row, or nothing if they are not
    wanted.
    """

    name: str
    token_ids: list[array[int]]
    targets: list[int]
    special_tokens: tuple[int, int]
    soft_targets: list[tuple[float, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True)
class Corpus:
    """The training and validation rows, as text; `weights` are those of the training sources."""

    labels: tuple[str, ...]
    training: tuple[Rows, ...]
    weights: tuple[float, ...]
    validation: tuple[Rows, ...]

    @property
    def digest(self) -> str:
        """A digest of all rows, their order, their labels and their scores."""
        digests = [rows.digest for rows in (*self.training, *self.validation)]
        return hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()

    @property
    def has_scores(self) -> bool:
        """Whether a training row has scores, which the loss is then computed with."""
        return any(rows.scores for rows in self.training)

    def seen_in_training(self, rows: Rows) -> int:
        """Count the validation rows whose text is in the training rows too.

        Case and white space are ignored.
        """
        known = {normalised(text) for source in self.training for text in source.texts}
        return sum(normalised(text) in known for text in rows.texts)


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

    About 5% of the rows are held out for validation: from the sources in `held_out`, or from all
    sources if `held_out` is empty and there are no validation files.

    Raises:
        TrainingDataError: A file or a row is invalid, there are fewer than two labels, validation
            rows have a label that training rows lack, or no validation row is left.
        TrainingOptionsError: `held_out` names an unknown source.
    """
    training = [read_rows(source.path, filters, columns) for source in sources]
    validating = [read_rows(path, validation_filters, columns) for path in validation]
    names = {rows.name for rows in training}
    if unknown := sorted(set(held_out) - names):
        raise TrainingOptionsError(
            f"--hold-out {unknown[0]} is not among the data: {sorted(names)}"
        )
    if held_out or not validating:
        training, held = hold_out(training, seed=seed, names=held_out or names)
        validating += held
    labels = label_order({label for rows in training for label in rows.label_names})
    for rows in validating:
        if not_trained := set(rows.labels) - set(labels):
            raise TrainingDataError(
                f"{rows.name} has labels that no training row has: {shown_labels(not_trained)}"
            )
    weights = tuple(source.weight for source in sources)
    return Corpus(labels, tuple(training), weights, tuple(validating))


def label_order(labels: set[str]) -> tuple[str, ...]:
    """Order the labels: negative, neutral, positive if there are no others, else by name.

    Raises:
        TrainingDataError: There is only one label.
    """
    if len(labels) < 2:  # noqa: PLR2004 - a classifier needs two labels
        raise TrainingDataError("training needs rows of at least two labels")
    if labels <= set(_SENTIMENTS):
        return tuple(label for label in _SENTIMENTS if label in labels)
    return tuple(sorted(labels))


def hold_out(
    training: Sequence[Rows], *, seed: int, names: Collection[str]
) -> tuple[list[Rows], list[Rows]]:
    """Split about 5% of the rows off the named sources, and return kept and held-out rows.

    All duplicates of a text go to the same part.

    Raises:
        TrainingDataError: One of the parts would be empty.
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
    rows: Rows,
    tokenizer: PreTrainedTokenizerBase,
    *,
    labels: Sequence[str],
    max_tokens: int,
    soft_targets: bool = False,
) -> EncodedRows:
    """Tokenise rows; of each text, the first `max_tokens` tokens are kept (special ones count).

    With `soft_targets`, the result has the probabilities of the labels too; those of a row without
    scores are 1 for its label, and 0 for the others.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    max_chars = max_tokens * _CHARS_PER_TOKEN
    token_ids: list[array[int]] = []
    for start in range(0, len(rows), _ROWS_PER_CALL):
        texts = [text[:max_chars] for text in rows.texts[start : start + _ROWS_PER_CALL]]
        encoded = tokenizer(
            texts,
            truncation=True,
            max_length=max_tokens,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        token_ids += [array("i", ids) for ids in encoded["input_ids"]]
    special_tokens = special_token_counts(
        tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    )
    return EncodedRows(
        rows.name,
        token_ids,
        [numbers[label] for label in rows.labels],
        special_tokens,
        _soft_targets(rows, labels) if soft_targets else [],
    )


def _soft_targets(rows: Rows, labels: Sequence[str]) -> list[tuple[float, ...]]:
    return [tuple(each.get(label, 0.0) for label in labels) for each in rows.distributions]


def normalised(text: str) -> str:
    """Return the text in lower case and with single spaces, to find duplicates."""
    return " ".join(text.casefold().split())


def _is_held_out(text: str, seed: int) -> bool:
    digest = hashlib.blake2b(f"{seed}\0{normalised(text)}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) < HELD_OUT * 2**32


def _subset(rows: Rows, chosen: Sequence[bool], *, name: str) -> Rows:
    texts = [text for text, yes in zip(rows.texts, chosen, strict=True) if yes]
    labels = [label for label, yes in zip(rows.labels, chosen, strict=True) if yes]
    # Not strict: without scores the list is empty.
    scores = [each for each, yes in zip(rows.scores, chosen, strict=False) if yes]
    return Rows(name, texts, labels, rows.digest, scores=scores)
