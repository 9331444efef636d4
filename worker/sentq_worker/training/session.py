"""One training from options to model folder: read, resume, train, export."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import transformers

from sentq_worker.training.assembly import assemble, load
from sentq_worker.training.data.corpus import Corpus, read_corpus
from sentq_worker.training.errors import TrainingOptionsError, TrainingStopped
from sentq_worker.training.loop.checkpoint import CheckpointStore
from sentq_worker.training.model.export import WEIGHTS, export
from sentq_worker.training.model.temperature import fold_temperature, last_layer
from sentq_worker.training.report.record import files_beside, source_figures, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedModel

    from sentq_worker.training.loop.progress import ProgressReporter
    from sentq_worker.training.loop.state import TrainingState
    from sentq_worker.training.loop.trainer import Trainer
    from sentq_worker.training.options import TrainingOptions

__all__ = ["run_session"]


def run_session(
    options: TrainingOptions,
    reporter: ProgressReporter,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> str:
    """Train and export, and return a summary for the terminal.

    Raises:
        TrainingError: Any of its subclasses; the message says what to do.
    """
    _quieten_transformers()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    _prepare_folder(options)
    corpus = _read(options)
    model, tokenizer = load(options, corpus)
    store = CheckpointStore(
        options.out / "checkpoint", {**options.fixed_on_resume(), "the rows": corpus.digest}
    )
    trainer = assemble(options, corpus, model, tokenizer, store)
    reporter.say(_opening(options, corpus, trainer))
    if should_stop():
        raise TrainingStopped("stopped before the first step")
    weights = trainer.run(reporter, should_stop=should_stop)
    if options.calibrate:
        weights = _calibrated(weights, model, corpus.labels, trainer.state)
    path = export(
        options.out,
        model=model,
        weights=weights,
        tokenizer=tokenizer,
        dtype=options.save_dtype,
        texts=files_beside(options, corpus, trainer.state),
    )
    store.discard()
    return summary(options.out, trainer.state, path.stat().st_size)


def _quieten_transformers() -> None:
    # It reports the new head, which training needs, as a table of missing weights.
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
            f"{options.out} contains a finished model: choose another --out, "
            "or give --restart to replace it"
        )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingOptionsError(
            f"cannot create --out {options.out}: {error.strerror}"
        ) from error


def _read(options: TrainingOptions) -> Corpus:
    return read_corpus(
        options.sources,
        filters=options.filters,
        validation=options.valid,
        validation_filters=options.valid_filters,
        held_out=options.held_out,
        columns=options.columns,
        seed=options.schedule.seed,
    )


def _calibrated(
    weights: dict[str, torch.Tensor],
    model: PreTrainedModel,
    labels: Sequence[str],
    state: TrainingState,
) -> dict[str, torch.Tensor]:
    layer, temperature = last_layer(model, len(labels)), state.best["temperature"]
    if layer is None or temperature is None:
        state.best["temperature"] = None
        return weights
    return fold_temperature(weights, layer=layer, temperature=temperature)


def _opening(options: TrainingOptions, corpus: Corpus, trainer: Trainer) -> str:
    rows = sum(one.rows_per_epoch for one in source_figures(corpus))
    validation_rows = sum(map(len, corpus.validation))
    precision = str(options.dtype).removeprefix("torch.")
    return (
        f"{rows} rows per epoch, {trainer.steps} steps, {validation_rows} validation rows, "
        f"{precision} on {options.device}"
    )
