"""The model card (README.md) of a trained model. It names files, but never folders."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sentq_worker.training.loop.state import EpochRecord
    from sentq_worker.training.metrics import FiguresRecord

__all__ = ["Card", "SourceFigures", "figures_by_file"]

_FIGURES = (
    "validation rows",
    "rows",
    "accuracy",
    "macro F1",
    "macro recall",
    "polar accuracy",
    "seen",
)


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """The kept rows of a data file, those that each epoch draws, and the kept rows by label.

    `rows_with_scores` counts those that are trained on probabilities in place of their label.
    """

    name: str
    rows: int
    rows_per_epoch: int
    labels: Mapping[str, int]
    rows_with_scores: int = 0

    def as_json(self) -> dict[str, object]:
        """Return the fields as JSON."""
        return {**asdict(self), "labels": dict(self.labels)}


@dataclass(frozen=True, slots=True)
class Card:
    """The facts of a model card; `text` writes them as Markdown."""

    name: str
    base: str
    labels: Sequence[str]
    licence: str | None
    languages: Sequence[str]
    sources: Sequence[SourceFigures]
    notes: Sequence[str]
    best: EpochRecord
    command: str
    options: Mapping[str, str]
    max_tokens: int
    in_windows: bool
    temperature: float | None
    seen_in_training: Mapping[str, int]

    def text(self) -> str:
        """Return the card with its YAML header."""
        parts = [
            self._header(),
            f"# {self.name}",
            self._summary(),
            "## Use",
            self._use(),
            "## Figures",
            self._figures(),
            "## Training data",
            self._sources(),
            *(f"- {note}" for note in self.notes),
            "## Training",
            self._training(),
            "## Limits",
            self._limits(),
        ]
        return "\n\n".join(parts) + "\n"

    def _header(self) -> str:
        licence = [f"license: {self.licence}"] if self.licence else []
        languages = ["language:", *(f"- {code}" for code in self.languages)]
        lines = [
            *(languages if self.languages else []),
            *licence,
            "library_name: transformers",
            "pipeline_tag: text-classification",
        ]
        return "\n".join(["---", *lines, "tags:", "- sentiment-analysis", "---"])

    def _summary(self) -> str:
        return (
            f"Classifies a text as {_listed(self.labels)}. "
            f"Fine-tuned from {self.base} with `sentq-worker train`."
        )

    def _use(self) -> str:
        return (
            "```python\nfrom transformers import pipeline\n\n"
            f'classify = pipeline("text-classification", "path/to/{self.name}", top_k=None)\n'
            'classify("What a lovely day")\n```'
        )

    def _figures(self) -> str:
        rows = figures_by_file(self.best)
        seen = self.seen_in_training
        table = _table(
            _FIGURES,
            [
                (
                    name,
                    str(one["rows"]),
                    f"{one['accuracy']:.4f}",
                    f"{one['macro_f1']:.4f}",
                    f"{one['macro_recall']:.4f}",
                    "-" if one["polar_accuracy"] is None else f"{one['polar_accuracy']:.4f}",
                    str(seen.get(name, sum(seen.values()))),
                )
                for name, one in rows.items()
            ],
        )
        return (
            f"After epoch {self.best['epoch']}, the best epoch on these rows. They only served to "
            "choose it. Polar accuracy excludes neutral rows, and compares only the probabilities "
            f"of positive and negative. Computed in {self.options['dtype']}. Seen: rows whose "
            f"text, mostly a short phrase, also occurs in the training data.\n\n{table}"
        )

    def _sources(self) -> str:
        scored = sum(source.rows_with_scores for source in self.sources)
        if not scored:
            return self._source_table()
        return (
            f"{scored} of these rows have the probability of each label, and were trained on that. "
            f"Each counts under its label, or its most probable one.\n\n{self._source_table()}"
        )

    def _source_table(self) -> str:
        return _table(
            ("file", "rows", "drawn per epoch", *self.labels),
            [
                (
                    source.name,
                    str(source.rows),
                    str(source.rows_per_epoch),
                    *(str(source.labels.get(label, 0)) for label in self.labels),
                )
                for source in self.sources
            ],
        )

    def _training(self) -> str:
        table = _table(("option", "value"), list(self.options.items()))
        return (
            f"```console\n$ {self.command}\n```\n\n"
            f"Paths are shortened to their last part. All options, with defaults:\n\n{table}"
        )

    def _limits(self) -> str:
        part = "windows of" if self.in_windows else "the first"
        return (
            f"- Trained on {part} {self.max_tokens} tokens of longer texts. Score much longer ones "
            "in windows.\n"
            "- Its language, subjects and labelling habits are those of the files above. Expect "
            "errors on irony, mixed opinions and new subjects, and the biases of the data.\n"
            f"- {self._calibration()}"
        )

    def _calibration(self) -> str:
        if self.temperature is None:
            return "A probability is the model's confidence, not a measured frequency."
        return (
            f"Probabilities are calibrated on the validation rows (temperature "
            f"{self.temperature:.2f}, folded into the last layer). On other texts they are "
            "the model's confidence, not a measured frequency."
        )


def figures_by_file(epoch: EpochRecord) -> dict[str, FiguresRecord]:
    """Return the figures of an epoch by file, those of all rows first, as "all"."""
    return {"all": epoch["overall"], **{file["name"]: file for file in epoch["files"]}}


def _listed(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:-1])} or {labels[-1]}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
