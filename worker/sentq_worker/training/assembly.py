"""Build a training from its options: model and tokenizer, token ids, learner, trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sentq_worker.training.data.batches import rows_per_epoch
from sentq_worker.training.data.corpus import Corpus, EncodedRows, encode
from sentq_worker.training.data.training_set import TrainingSet
from sentq_worker.training.errors import TrainingOptionsError
from sentq_worker.training.loop.trainer import Trainer
from sentq_worker.training.model.base import load_model, load_tokenizer, longest_tokens
from sentq_worker.training.step.learner import Learner
from sentq_worker.training.step.objective import Objective, balanced_weights
from sentq_worker.training.step.padding import Padding

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sentq_worker.training.data.rows import Rows
    from sentq_worker.training.loop.checkpoint import CheckpointStore
    from sentq_worker.training.options import TrainingOptions

__all__ = ["assemble", "load"]

#: Tokens of a text beyond this number of windows are never trained on.
_MAX_WINDOWS = 16


def load(
    options: TrainingOptions, corpus: Corpus
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the base with a head for the labels of the corpus, and its tokenizer.

    Raises:
        TrainingOptionsError: There is no such base, or it reads fewer than `max_tokens` tokens.
    """
    tokenizer = load_tokenizer(options.base)
    torch.manual_seed(options.schedule.seed)
    model = load_model(
        options.base,
        labels=corpus.labels,
        # On CPUs the fused attention of torch has a slow backward pass: eager attention trains
        # MiniLM-L6 6% faster at 32 tokens and 20% faster at 128.
        attention="eager" if options.device.type == "cpu" else None,
        dropout=options.dropout,
        attention_dropout=options.attention_dropout,
    )
    if options.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(requires_grad=False)
    longest = longest_tokens(model, tokenizer)
    if longest is not None and options.max_tokens > longest:
        raise TrainingOptionsError(
            f"--max-tokens {options.max_tokens} is more than the {longest} of {options.base}"
        )
    return model, tokenizer


def assemble(
    options: TrainingOptions,
    corpus: Corpus,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    store: CheckpointStore,
) -> Trainer:
    """Tokenise the rows, and build the trainer."""

    def encoded(
        rows: Rows, *, max_tokens: int = options.max_tokens, soft_targets: bool = False
    ) -> EncodedRows:
        return encode(
            rows,
            tokenizer,
            labels=corpus.labels,
            max_tokens=max_tokens,
            soft_targets=soft_targets,
        )

    max_text_tokens = options.max_tokens * (_MAX_WINDOWS if options.long_texts == "windows" else 1)
    training_set = TrainingSet(
        [
            encoded(rows, max_tokens=max_text_tokens, soft_targets=corpus.has_scores)
            for rows in corpus.training
        ],
        corpus.weights,
        batch_size=options.schedule.batch_size,
        max_tokens=options.max_tokens,
        seed=options.schedule.seed,
    )
    learner = Learner(
        model,
        padding=Padding(int(tokenizer.pad_token_id), tokenizer.padding_side == "left"),
        device=options.device,
        dtype=options.dtype,
        objective=Objective(options.label_smoothing, _class_weights(options, corpus)),
        optimizer=options.optimizer,
        average_steps=round(
            options.average * options.schedule.epochs * training_set.batches_per_epoch
        ),
    )
    return Trainer(
        learner,
        store,
        schedule=options.schedule,
        labels=corpus.labels,
        training_set=training_set,
        validation=[encoded(rows) for rows in corpus.validation],
        checkpoint_every_s=options.checkpoint_every_s,
    )


def _class_weights(options: TrainingOptions, corpus: Corpus) -> tuple[float, ...] | None:
    if options.class_weights == "none":
        return None
    rows_by_label = dict.fromkeys(corpus.labels, 0.0)
    for rows, weight in zip(corpus.training, corpus.weights, strict=True):
        share = rows_per_epoch(len(rows), weight) / len(rows)
        for scores in rows.distributions:
            for label, probability in scores.items():
                rows_by_label[label] += probability * share
    return balanced_weights([*rows_by_label.values()])
