"""The command `sentq-worker train`: options in, a model folder out."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sentq_worker.training.errors import (
    TrainingDataError,
    TrainingError,
    TrainingOptionsError,
    TrainingStopped,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sentq_worker.training.loop.progress import ProgressReporter
    from sentq_worker.training.options import TrainingOptions

__all__ = ["train"]

_BAD_USAGE = 2
_INTERRUPTED = 130


class Precision(StrEnum):
    """The precision that the model computes in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class RateDecay(StrEnum):
    """How the learning rate falls after the warm-up."""

    COSINE = "cosine"
    LINEAR = "linear"


class LongTexts(StrEnum):
    """The part of a text longer than --max-tokens that is trained on."""

    FIRST = "first"
    WINDOWS = "windows"


class ClassWeights(StrEnum):
    """The weights of the labels in the loss."""

    NONE = "none"
    BALANCED = "balanced"


class StoredPrecision(StrEnum):
    """The precision that the weights are stored in."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"


def train(
    *,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="JSON lines, CSV, TSV (each also .gz) or Parquet with text and label, or a Hub "
            "dataset, owner/name:split; FILE@0.3 draws a new 30% of the rows for each epoch, "
            "FILE@2 takes each row twice.",
            show_default=False,
        ),
    ],
    base: Annotated[
        str, typer.Option(help="Folder or Hub id of the model to start from.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the finished model.", show_default=False)],
    valid: Annotated[
        list[Path] | None,
        typer.Option(help="File to validate on; without one, 5% of the data is held out."),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Hold 5% of this source out, in addition to --valid."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE", help="Train on rows with this value, or without the field."
        ),
    ] = None,
    valid_where: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="The same for the validation files."),
    ] = None,
    text_field: Annotated[str, typer.Option(help="Field that holds the text.")] = "text",
    label_field: Annotated[str, typer.Option(help="Field that holds the label.")] = "label",
    label_map: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Rename a label; 'OLD=' drops its rows."),
    ] = None,
    scores_field: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="Field that holds the probability of each label, as an object; a row that has one "
            "is trained on it in place of its label, and needs no label.",
        ),
    ] = None,
    epochs: Annotated[
        int, typer.Option(min=1, help="Maximum number of epochs; the best is kept.")
    ] = 5,
    patience: Annotated[
        int,
        typer.Option(min=0, help="Stop after this number of epochs without a new best; 0: never."),
    ] = 3,
    learning_rate: Annotated[
        float, typer.Option(min=0.0, help="Highest rate, after the warm-up.")
    ] = 1e-4,
    head_rate: Annotated[
        float, typer.Option(min=0.0, help="Factor of the learning rate for the head.")
    ] = 1.0,
    schedule: Annotated[
        RateDecay, typer.Option(help="How the rate falls after the warm-up.")
    ] = RateDecay.COSINE,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows per step.")] = 32,
    max_tokens: Annotated[int, typer.Option(min=8, help="Longer texts are truncated.")] = 128,
    long_texts: Annotated[
        LongTexts,
        typer.Option(
            help="Train on the first --max-tokens of a longer text, or on a window of it "
            "that each epoch draws."
        ),
    ] = LongTexts.FIRST,
    warmup: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the steps with a rising rate.")
    ] = 0.06,
    class_weights: Annotated[
        ClassWeights, typer.Option(help="balanced: rare labels weigh more.")
    ] = ClassWeights.NONE,
    label_smoothing: Annotated[
        float,
        typer.Option(min=0.0, max=0.9, help="Share of a label that is spread over all labels."),
    ] = 0.0,
    weight_decay: Annotated[float, typer.Option(min=0.0, help="Weight decay of AdamW.")] = 0.01,
    max_gradient_norm: Annotated[
        float, typer.Option(min=0.0, help="Larger gradients are clipped to it; 0: never.")
    ] = 1.0,
    average: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.5, help="Keep the running mean of the weights over this share of steps."
        ),
    ] = 0.02,
    dropout: Annotated[
        float | None, typer.Option(min=0.0, max=0.9, help="Replaces the dropout of the base.")
    ] = None,
    attention_dropout: Annotated[
        float | None,
        typer.Option(min=0.0, max=0.9, help="Replaces that of the base; 0 trains faster."),
    ] = None,
    freeze_embeddings: Annotated[
        bool,
        typer.Option(
            "--freeze-embeddings",
            help="Keep the token embeddings of the base: it is faster, and words that the rows "
            "lack, such as those of other languages, stay where they were among the others.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 1,
    dtype: Annotated[
        Precision, typer.Option(help="auto: bfloat16 if the hardware supports it.")
    ] = Precision.AUTO,
    calibrate: Annotated[
        bool,
        typer.Option(help="Calibrate: fold a temperature into the last layer."),
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads (default: torch's choice).")
    ] = None,
    save_dtype: Annotated[
        StoredPrecision, typer.Option(help="How the weights are stored.")
    ] = StoredPrecision.FLOAT16,
    checkpoint_every_s: Annotated[
        float, typer.Option(min=0.0, help="Seconds between checkpoints.")
    ] = 120.0,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard the checkpoint or model in --out.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the model on its card (default: its folder).")
    ] = None,
    base_name: Annotated[
        str | None, typer.Option(help="Name of the base on the card (default: its folder).")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence identifier for the card, such as apache-2.0.")
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(
            help="A language of the texts for the card, as a code such as en; repeatable. Workers "
            "flag texts in others.",
            metavar="CODE",
        ),
    ] = None,
    source_note: Annotated[
        list[str] | None, typer.Option(help="A note on the data for the card; repeatable.")
    ] = None,
) -> None:
    """Fine-tune a classifier on labelled texts, and save it as an ordinary model folder.

    If it is killed or interrupted, the same command resumes from the last checkpoint.
    """
    console = Console(stderr=True)

    def options() -> TrainingOptions:
        from sentq_worker.training.options import TrainingOptions

        return TrainingOptions.checked(
            data=data,
            base=base,
            out=out,
            valid=valid or [],
            where=where or [],
            valid_where=valid_where or [],
            hold_out=hold_out or [],
            text_field=text_field,
            label_field=label_field,
            label_map=label_map or [],
            scores_field=scores_field,
            epochs=epochs,
            patience=patience,
            learning_rate=learning_rate,
            head_rate=head_rate,
            schedule=schedule.value,
            batch_size=batch_size,
            max_tokens=max_tokens,
            long_texts=long_texts.value,
            class_weights=class_weights.value,
            label_smoothing=label_smoothing,
            weight_decay=weight_decay,
            max_gradient_norm=max_gradient_norm,
            average=average,
            calibrate=calibrate,
            warmup=warmup,
            dropout=dropout,
            attention_dropout=attention_dropout,
            freeze_embeddings=freeze_embeddings,
            seed=seed,
            dtype=dtype.value,
            device=device,
            threads=threads,
            save_dtype=save_dtype.value,
            checkpoint_every_s=checkpoint_every_s,
            restart=restart,
            name=name or out.resolve().name,
            base_name=base_name or Path(base).name,
            licence=licence,
            languages=language or [],
            source_notes=source_note or [],
        )

    raise typer.Exit(_run(options, console))


def _run(options: Callable[[], TrainingOptions], console: Console) -> int:
    try:
        from sentq_worker.training.loop.progress import reporter_for
        from sentq_worker.training.session import run_session

        with reporter_for(console) as reporter, _stop_signals(reporter) as should_stop:
            summary = run_session(options(), reporter, should_stop=should_stop)
    except (TrainingDataError, TrainingOptionsError) as error:
        return _fail(console, str(error), _BAD_USAGE)
    except TrainingStopped as error:
        return _fail(console, f"{error}; the same command resumes", _INTERRUPTED)
    except KeyboardInterrupt:
        return _fail(console, "stopped; the same command resumes", _INTERRUPTED)
    except TrainingError as error:
        return _fail(console, str(error), 1)
    typer.echo(summary)
    return 0


def _fail(console: Console, message: str, code: int) -> int:
    console.print(message, markup=False, highlight=False, soft_wrap=True)
    return code


@contextmanager
def _stop_signals(reporter: ProgressReporter) -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGINT or SIGTERM came; a second signal interrupts."""
    signals: list[int] = []

    def on_signal(number: int, _frame: object) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)
        reporter.say("stopping after this step; signal again to stop at once")

    previous = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(signals)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
