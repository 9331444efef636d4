"""The model card (README.md) of a trained folder. It names files, never folders."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Card", "SourceFigures"]


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
    """What one data file gave: all its kept rows, and how many of them an epoch drew."""

    name: str
    rows: int
    rows_per_epoch: int
    labels: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "labels": dict(self.labels)}


@dataclass(frozen=True, slots=True)
class Card:
    """What a reader of the card needs to know; `text` puts it in Markdown."""

    name: str
    base: str
    labels: Sequence[str]
    licence: str | None
    sources: Sequence[SourceFigures]
    notes: Sequence[str]
    best: Mapping[str, Any]
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
        lines = [*licence, "library_name: transformers", "pipeline_tag: text-classification"]
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
        rows = [("all", self.best["overall"])]
        rows += [(file["name"], file) for file in self.best["files"]]
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
                for name, one in rows
            ],
        )
        return (
            f"After epoch {self.best['epoch']}, the best on these rows, which were used to choose "
            "it and for nothing else. Polar accuracy leaves neutral rows out and asks only "
            "whether positive or negative is likelier. Computed in "
            f"{self.options['dtype']}. Seen: rows whose text, mostly a short "
            f"phrase, also occurs in the training data.\n\n{table}"
        )

    def _sources(self) -> str:
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
            f"Paths are cut to their last part. All options, defaults too:\n\n{table}"
        )

    def _limits(self) -> str:
        part = "windows of" if self.in_windows else "the first"
        return (
            f"- Trained on {part} {self.max_tokens} tokens of longer texts. Score much longer ones "
            "in pieces.\n"
            "- Knows the language, the subjects and the habits of its annotators from the files "
            "above, and no others. Expect errors on irony, on mixed opinions and on new subjects, "
            "and the prejudices of the data.\n"
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


def _listed(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:-1])} or {labels[-1]}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
