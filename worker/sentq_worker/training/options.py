"""The options of a training, checked, and which of them must not change on resuming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sentq_worker.training.learner import resolve_device, resolve_dtype
from sentq_worker.training.loop import Schedule
from sentq_worker.training.rows import Filter, Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["TrainingOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """All options of a training, checked; see the command for what they mean."""

    sources: tuple[Source, ...]
    filters: tuple[Filter, ...]
    valid: tuple[Path, ...]
    valid_filters: tuple[Filter, ...]
    base: str
    out: Path
    schedule: Schedule
    max_tokens: int
    dropout: float | None
    attention_dropout: float | None
    dtype: torch.dtype
    device: torch.device
    threads: int | None
    save_dtype: torch.dtype
    checkpoint_every_s: float
    restart: bool
    name: str
    base_name: str
    licence: str | None
    source_notes: tuple[str, ...]

    @classmethod
    def checked(
        cls,
        *,
        data: Sequence[str],
        where: Sequence[str],
        valid: Sequence[Path],
        valid_where: Sequence[str],
        epochs: int,
        learning_rate: float,
        batch_size: int,
        warmup: float,
        seed: int,
        dtype: str,
        device: str,
        save_dtype: str,
        source_notes: Sequence[str],
        **others: Any,
    ) -> TrainingOptions:
        """Read the options as the command line gives them.

        Raises:
            TrainingOptionsError: one of them cannot be understood.
        """
        place = resolve_device(device)
        return cls(
            sources=tuple(map(Source.parse, data)),
            filters=tuple(map(Filter.parse, where)),
            valid=tuple(valid),
            valid_filters=tuple(map(Filter.parse, valid_where)),
            schedule=Schedule(epochs, learning_rate, batch_size, warmup, seed),
            dtype=resolve_dtype(dtype, place),
            device=place,
            save_dtype={"float16": torch.float16, "float32": torch.float32}[save_dtype],
            source_notes=tuple(source_notes),
            **others,
        )

    def decisive(self) -> dict[str, Any]:
        """Return, by option, what decides the weights: it must not change on resuming.

        Files are named without their folders: they may move. The rows in them are compared too,
        but not here.
        """
        return {
            "data": [one.label for one in self.sources],
            "--where": [one.label for one in self.filters],
            "--valid": [path.name for path in self.valid],
            "--valid-where": [one.label for one in self.valid_filters],
            "--base": self.base,
            "--epochs": self.schedule.epochs,
            "--learning-rate": self.schedule.learning_rate,
            "--batch-size": self.schedule.batch_size,
            "--max-tokens": self.max_tokens,
            "--warmup": self.schedule.warmup,
            "--dropout": self.dropout,
            "--attention-dropout": self.attention_dropout,
            "--seed": self.schedule.seed,
            "--dtype": str(self.dtype).removeprefix("torch."),
        }

    def shown(self) -> dict[str, str]:
        """Return the decisive options that are set, in words, for the card and the record."""
        options = {**self.decisive(), "--base": self.base_name}
        return {
            name.removeprefix("--"): ", ".join(value) if isinstance(value, list) else str(value)
            for name, value in options.items()
            if value not in (None, [])
        }
