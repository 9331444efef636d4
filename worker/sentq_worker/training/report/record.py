"""The record of a finished training: README.md, training.json, training.svg and a summary."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections import Counter
from typing import TYPE_CHECKING

import torch
import transformers

from sentq_worker.training.data.batches import rows_per_epoch
from sentq_worker.training.data.rows import Source
from sentq_worker.training.report.card import Card, SourceFigures, figures_by_file
from sentq_worker.training.report.chart import chart

if TYPE_CHECKING:
    from pathlib import Path

    from sentq_worker.training.data.corpus import Corpus
    from sentq_worker.training.loop.state import TrainingState
    from sentq_worker.training.options import TrainingOptions

__all__ = ["files_beside", "source_figures", "summary"]


def files_beside(options: TrainingOptions, corpus: Corpus, state: TrainingState) -> dict[str, str]:
    """Return the files beside the weights, by name. They contain no path of a folder."""
    sources = source_figures(corpus)
    seen = {rows.name: corpus.seen_in_training(rows) for rows in corpus.validation}
    card = Card(
        name=options.name,
        base=options.base_name,
        labels=corpus.labels,
        licence=options.licence,
        languages=options.languages,
        sources=sources,
        notes=options.source_notes,
        best=state.best,
        command=command_line(sys.argv),
        options=options.as_text(),
        max_tokens=options.max_tokens,
        in_windows=options.long_texts == "windows",
        temperature=state.best["temperature"] if options.calibrate else None,
        seen_in_training=seen,
    )
    record = {
        "command": command_line(sys.argv),
        "options": options.as_text(),
        "seed": options.schedule.seed,
        "device": str(options.device),
        "threads": torch.get_num_threads(),
        "labels": list(corpus.labels),
        "sources": [source.as_json() for source in sources],
        "rows_digest": corpus.digest,
        "validation_rows_seen_in_training": seen,
        "epochs": state.history,
        "best_epoch": state.best_epoch,
        "losses": state.losses,
        "wall_s": round(state.wall_s, 1),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    return {
        "README.md": card.text(),
        "training.json": json.dumps(record, indent=2) + "\n",
        "training.svg": _chart(state),
    }


def _chart(state: TrainingState) -> str:
    accuracies: dict[str, list[tuple[float, float]]] = {}
    for epoch in state.history:
        for name, figures in figures_by_file(epoch).items():
            accuracies.setdefault(name, []).append((epoch["step"], figures["accuracy"]))
    return chart(state.losses, accuracies)


def source_figures(corpus: Corpus) -> list[SourceFigures]:
    """Count the rows of the training files."""
    return [
        SourceFigures(
            name=rows.name,
            rows=len(rows),
            rows_per_epoch=rows_per_epoch(len(rows), weight),
            labels=Counter(rows.labels),
            rows_with_scores=sum(each is not None for each in rows.scores),
        )
        for rows, weight in zip(corpus.training, corpus.weights, strict=True)
    ]


def summary(folder: Path, state: TrainingState, size_bytes: int) -> str:
    """Return the summary that the command prints at the end."""
    lines = [f"{folder}  ({size_bytes / 1e6:.1f} MB, epoch {state.best['epoch']})"]
    for name, one in figures_by_file(state.best).items():
        polar = "" if one["polar_accuracy"] is None else f"  polar {one['polar_accuracy']:.4f}"
        lines.append(
            f"  {name}: {one['rows']} rows  accuracy {one['accuracy']:.4f}  "
            f"macro F1 {one['macro_f1']:.4f}{polar}"
        )
    return "\n".join(lines)


def command_line(arguments: list[str]) -> str:
    """Join the arguments as for a shell; paths, which may be private, lose their folders."""
    return shlex.join(_without_folder(argument) for argument in arguments)


def _without_folder(argument: str) -> str:
    option, equals, value = argument.partition("=")
    if option.startswith("--") and equals:
        return f"{option}={_without_folder(value)}"
    path = Source.parse(argument).path
    if not (path.is_absolute() or path.exists()):
        return argument
    return argument[len(str(path)) - len(path.name) :]
