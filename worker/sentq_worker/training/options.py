"""The checked options of a training, and those that must not change on resuming."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sentq_worker.training.data.rows import Columns, Filter, Source
from sentq_worker.training.errors import TrainingOptionsError
from sentq_worker.training.model.hardware import resolve_device, resolve_dtype
from sentq_worker.training.step.optimizer import OptimizerOptions
from sentq_worker.training.step.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sentq_worker.training.step.schedule import Decay

__all__ = ["TrainingOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """The checked options of a training; the command documents their meaning."""

    sources: tuple[Source, ...]
    filters: tuple[Filter, ...]
    valid: tuple[Path, ...]
    valid_filters: tuple[Filter, ...]
    held_out: tuple[str, ...]
    columns: Columns
    base: str
    out: Path
    schedule: Schedule
    optimizer: OptimizerOptions
    label_smoothing: float
    class_weights: str
    average: float
    max_tokens: int
    long_texts: str
    calibrate: bool
    dropout: float | None
    attention_dropout: float | None
    freeze_embeddings: bool
    dtype: torch.dtype
    device: torch.device
    threads: int | None
    save_dtype: torch.dtype
    checkpoint_every_s: float
    restart: bool
    name: str
    base_name: str
    licence: str | None
    languages: tuple[str, ...]
    source_notes: tuple[str, ...]

    @classmethod
    def checked(
        cls,
        *,
        data: Sequence[str],
        where: Sequence[str],
        valid: Sequence[Path],
        valid_where: Sequence[str],
        hold_out: Sequence[str],
        text_field: str,
        label_field: str,
        label_map: Sequence[str],
        scores_field: str | None,
        epochs: int,
        learning_rate: float,
        batch_size: int,
        warmup: float,
        schedule: Decay,
        patience: int,
        seed: int,
        head_rate: float,
        weight_decay: float,
        max_gradient_norm: float,
        dtype: str,
        device: str,
        save_dtype: str,
        languages: Sequence[str],
        source_notes: Sequence[str],
        **others: Any,
    ) -> TrainingOptions:
        """Parse the options of the command line.

        Raises:
            TrainingOptionsError: An option is invalid.
        """
        resolved_device = resolve_device(device)
        return cls(
            sources=tuple(map(Source.parse, data)),
            filters=tuple(map(Filter.parse, where)),
            valid=tuple(valid),
            valid_filters=tuple(map(Filter.parse, valid_where)),
            held_out=tuple(hold_out),
            columns=Columns.parse(
                text=text_field, label=label_field, names=label_map, scores=scores_field
            ),
            schedule=Schedule(epochs, learning_rate, batch_size, warmup, schedule, patience, seed),
            optimizer=OptimizerOptions(head_rate, weight_decay, max_gradient_norm),
            dtype=resolve_dtype(dtype, resolved_device),
            device=resolved_device,
            save_dtype={"float16": torch.float16, "float32": torch.float32}[save_dtype],
            languages=_checked_languages(languages),
            source_notes=tuple(source_notes),
            **others,
        )

    def fixed_on_resume(self) -> dict[str, object]:
        """Return the options that affect the weights, by name: they must not change on resuming.

        Files are named without folders, because they may move. Their rows are compared by the
        digest of the corpus.
        """
        schedule, optimizer, columns = self.schedule, self.optimizer, self.columns
        return {
            "data": [one.label for one in self.sources],
            "--where": [one.label for one in self.filters],
            "--valid": [path.name for path in self.valid],
            "--valid-where": [one.label for one in self.valid_filters],
            "--hold-out": list(self.held_out),
            "--text-field": columns.text,
            "--label-field": columns.label,
            "--label-map": [f"{old}={new or ''}" for old, new in columns.names.items()],
            "--scores-field": columns.scores,
            "--base": self.base,
            "--epochs": schedule.epochs,
            "--patience": schedule.patience,
            "--learning-rate": schedule.learning_rate,
            "--head-rate": optimizer.head_rate,
            "--schedule": schedule.decay,
            "--warmup": schedule.warmup,
            "--batch-size": schedule.batch_size,
            "--max-tokens": self.max_tokens,
            "--long-texts": self.long_texts,
            "--class-weights": self.class_weights,
            "--label-smoothing": self.label_smoothing,
            "--weight-decay": optimizer.weight_decay,
            "--max-gradient-norm": optimizer.max_gradient_norm,
            "--average": self.average,
            "--dropout": self.dropout,
            "--attention-dropout": self.attention_dropout,
            "--freeze-embeddings": self.freeze_embeddings or None,
            "--seed": schedule.seed,
            "--dtype": str(self.dtype).removeprefix("torch."),
        }

    def as_text(self) -> dict[str, str]:
        """Return the options of `fixed_on_resume` that are set, as text for card and record."""
        options = {**self.fixed_on_resume(), "--base": self.base_name}
        return {
            name.removeprefix("--"): ", ".join(value) if isinstance(value, list) else str(value)
            for name, value in options.items()
            if value not in (None, [])
        }


def _checked_languages(codes: Sequence[str]) -> tuple[str, ...]:
    if wrong := [code for code in codes if not re.fullmatch("[a-z]{2,3}", code)]:
        raise TrainingOptionsError(
            f"--language {wrong[0]}: give a code of ISO 639-1 such as en, and repeat the option "
            "for more"
        )
    return tuple(codes)
