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
    """What the model computes in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class RateDecay(StrEnum):
    """How the learning rate falls after the warm-up."""

    COSINE = "cosine"
    LINEAR = "linear"


class LongTexts(StrEnum):
    """What is read of a text that is longer than --max-tokens."""

    FIRST = "first"
    WINDOWS = "windows"


class ClassWeights(StrEnum):
    """How much the rows of each label count."""

    NONE = "none"
    BALANCED = "balanced"


class StoredPrecision(StrEnum):
    """What the weights are stored in."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"


def train(
    *,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="JSON lines, CSV, TSV (.gz of each) or Parquet with text and label, or a Hub "
            "dataset, owner/name:split; FILE@0.3 draws 30% of the rows anew for each epoch, "
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
        typer.Option(metavar="FILE", help="Hold 5% of this source out beside the --valid files."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Train on rows with this value, or no field."),
    ] = None,
    valid_where: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="The same for the validation files."),
    ] = None,
    text_field: Annotated[str, typer.Option(help="Field that holds the text.")] = "text",
    label_field: Annotated[str, typer.Option(help="Field that holds the label.")] = "label",
    label_map: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Rename a label; nothing after = drops its rows."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="At most so many; the best is kept.")] = 5,
    patience: Annotated[
        int,
        typer.Option(min=0, help="Stop after so many epochs without a better one; 0: never."),
    ] = 3,
    learning_rate: Annotated[
        float, typer.Option(min=0.0, help="Highest rate, after the warm-up.")
    ] = 1e-4,
    head_rate: Annotated[
        float, typer.Option(min=0.0, help="The head learns so many times faster than the body.")
    ] = 1.0,
    schedule: Annotated[
        RateDecay, typer.Option(help="How the rate falls after the warm-up.")
    ] = RateDecay.COSINE,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows per step.")] = 32,
    max_tokens: Annotated[int, typer.Option(min=8, help="Longer texts are cut.")] = 128,
    long_texts: Annotated[
        LongTexts,
        typer.Option(
            help="Train on the first --max-tokens of a longer text, or on a window of it "
            "that is drawn anew for each epoch."
        ),
    ] = LongTexts.FIRST,
    warmup: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the steps with a rising rate.")
    ] = 0.06,
    class_weights: Annotated[
        ClassWeights, typer.Option(help="balanced: rare labels count more.")
    ] = ClassWeights.NONE,
    label_smoothing: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of each label given to all labels.")
    ] = 0.0,
    weight_decay: Annotated[float, typer.Option(min=0.0, help="Of AdamW.")] = 0.01,
    max_gradient_norm: Annotated[
        float, typer.Option(min=0.0, help="Larger gradients are scaled down to it; 0: never.")
    ] = 1.0,
    average: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.5, help="Keep the running mean of the weights over this share of steps."
        ),
    ] = 0.02,
    dropout: Annotated[
        float | None, typer.Option(min=0.0, max=0.9, help="Instead of the base's own.")
    ] = None,
    attention_dropout: Annotated[
        float | None,
        typer.Option(min=0.0, max=0.9, help="Instead of the base's own; 0 trains faster."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that chance decides.")] = 1,
    dtype: Annotated[
        Precision, typer.Option(help="auto: bfloat16 where the hardware has it.")
    ] = Precision.AUTO,
    calibrate: Annotated[
        bool,
        typer.Option(help="Fold a temperature into the last layer: 0.9 is right 9 times in 10."),
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; torch's choice if not given.")
    ] = None,
    save_dtype: Annotated[
        StoredPrecision, typer.Option(help="How the weights are stored.")
    ] = StoredPrecision.FLOAT16,
    checkpoint_every_s: Annotated[
        float, typer.Option(min=0.0, help="Seconds of work that a kill may cost.")
    ] = 120.0,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard the checkpoint or model in --out.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="The model's name on its card; else the folder's.")
    ] = None,
    base_name: Annotated[
        str | None, typer.Option(help="The base's name on the card; else the folder's.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence identifier for the card, such as apache-2.0.")
    ] = None,
    source_note: Annotated[
        list[str] | None, typer.Option(help="A sentence on the data for the card; repeatable.")
    ] = None,
) -> None:
    """Fine-tune a classifier on labelled texts and save it as an ordinary model folder.

    Killed or interrupted, it goes on from its last checkpoint when given the same command.
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
        return _complain(console, str(error), _BAD_USAGE)
    except TrainingStopped as error:
        return _complain(console, f"{error}; the same command resumes", _INTERRUPTED)
    except KeyboardInterrupt:
        return _complain(console, "stopped; the same command resumes", _INTERRUPTED)
    except TrainingError as error:
        return _complain(console, str(error), 1)
    typer.echo(summary)
    return 0


def _complain(console: Console, message: str, code: int) -> int:
    console.print(message, markup=False, highlight=False, soft_wrap=True)
    return code


@contextmanager
def _stop_signals(reporter: ProgressReporter) -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a wish to stop; a second one interrupts at once."""
    wishes: list[int] = []

    def wish(number: int, _frame: object) -> None:
        if wishes:
            raise KeyboardInterrupt
        wishes.append(number)
        reporter.say("stopping after this step; once more to stop at once")

    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(wishes)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
