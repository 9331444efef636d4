"""One training from options to folder: reads, resumes, trains, exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import transformers

from sentq_worker.training.base import load_model, load_tokenizer, longest_tokens
from sentq_worker.training.checkpoint import CheckpointStore
from sentq_worker.training.corpus import Corpus, Encoded, encode, read_corpus
from sentq_worker.training.errors import TrainingOptionsError, TrainingStopped
from sentq_worker.training.export import WEIGHTS, export
from sentq_worker.training.learner import Learner, Padding
from sentq_worker.training.loop import Training
from sentq_worker.training.record import files_beside, source_figures, summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sentq_worker.training.options import TrainingOptions
    from sentq_worker.training.progress import Reporter
    from sentq_worker.training.rows import Rows

__all__ = ["run_session"]


def run_session(
    options: TrainingOptions,
    reporter: Reporter,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> str:
    """Train and export; return a summary for the terminal.

    Raises:
        TrainingError: one of its kinds; the message says what to do.
    """
    _quieten_transformers()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    _prepare_folder(options)
    corpus = _read(options)
    model, tokenizer = _load(options, corpus)
    store = CheckpointStore(
        options.out / "checkpoint", {**options.decisive(), "the rows": corpus.digest}
    )
    training = _training(options, corpus, model, tokenizer, store)
    reporter.say(_opening(options, corpus, training))
    if should_stop():
        raise TrainingStopped("stopped before the first step")
    weights = training.run(reporter, should_stop=should_stop)
    path = export(
        options.out,
        model=model,
        weights=weights,
        tokenizer=tokenizer,
        dtype=options.save_dtype,
        texts=files_beside(options, corpus, training.course),
    )
    store.discard()
    return summary(options.out, training.course, path.stat().st_size)


def _quieten_transformers() -> None:
    # It reports a new head, which is what training is about, as a table of missing weights.
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _prepare_folder(options: TrainingOptions) -> None:
    checkpoint = CheckpointStore(options.out / "checkpoint", {})
    finished = options.out / WEIGHTS
    if options.restart:
        checkpoint.discard()
        finished.unlink(missing_ok=True)
    elif finished.exists() and not checkpoint.exists:
        raise TrainingOptionsError(
            f"{options.out} holds a finished model: choose another --out, "
            "or give --restart to replace it"
        )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingOptionsError(f"cannot make --out {options.out}: {error.strerror}") from error


def _read(options: TrainingOptions) -> Corpus:
    return read_corpus(
        options.sources,
        filters=options.filters,
        validation=options.valid,
        validation_filters=options.valid_filters,
        seed=options.schedule.seed,
    )


def _load(
    options: TrainingOptions, corpus: Corpus
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    tokenizer = load_tokenizer(options.base)
    torch.manual_seed(options.schedule.seed)
    model = load_model(
        options.base,
        labels=corpus.labels,
        # On CPUs torch's fused attention has a slow backward pass: eager trains MiniLM-L6 6%
        # faster at 32 tokens and 20% faster at 128.
        attention="eager" if options.device.type == "cpu" else None,
        dropout=options.dropout,
        attention_dropout=options.attention_dropout,
    )
    longest = longest_tokens(model, tokenizer)
    if longest is not None and options.max_tokens > longest:
        raise TrainingOptionsError(
            f"--max-tokens {options.max_tokens} is more than the {longest} of {options.base}"
        )
    return model, tokenizer


def _training(
    options: TrainingOptions,
    corpus: Corpus,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    store: CheckpointStore,
) -> Training:
    def encoded(rows: Rows) -> Encoded:
        return encode(rows, tokenizer, labels=corpus.labels, max_tokens=options.max_tokens)

    learner = Learner(
        model,
        padding=Padding(int(tokenizer.pad_token_id), tokenizer.padding_side == "left"),
        device=options.device,
        dtype=options.dtype,
    )
    return Training(
        learner,
        store,
        schedule=options.schedule,
        labels=corpus.labels,
        training=[encoded(rows) for rows in corpus.training],
        weights=corpus.weights,
        validation=[encoded(rows) for rows in corpus.validation],
        checkpoint_every_s=options.checkpoint_every_s,
    )


def _opening(options: TrainingOptions, corpus: Corpus, training: Training) -> str:
    rows = sum(one.rows_per_epoch for one in source_figures(corpus))
    checked = sum(map(len, corpus.validation))
    precision = str(options.dtype).removeprefix("torch.")
    return (
        f"{rows} rows an epoch, {training.steps} steps, {checked} rows to validate on, "
        f"{precision} on {options.device}"
    )
