"""Make the bundled model: the calibrated mean of the weights of several fine-tunings.

    python model/recipe/average.py FIRST@SHARE SECOND@SHARE ... --out OUT --valid FILE ...

Fine-tunings of one base lie in one basin of the loss, and their mean scores better than each of
them (Wortsman et al. 2022, Model soups, arXiv:2203.05482). A part may be such a mean itself, from
which the others were trained: a share of it keeps what they forgot (Wortsman et al. 2021, Robust
fine-tuning of zero-shot models, arXiv:2109.01903). The tokenizer, with its normalisation rules, is
that of the last fine-tuning. The rows of --valid calibrate the model. They and those of --measure
give the figures on the card.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from card import BUNDLED, card
from safetensors.torch import load_file
from scaling import Scaling

from sentq.contract import Limits
from sentq_worker.evaluate.measures import measure
from sentq_worker.evaluate.scored import ScoredRows, score_rows
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings
from sentq_worker.training.data.rows import Filter, Rows, read_rows
from sentq_worker.training.model.base import load_model, load_tokenizer
from sentq_worker.training.model.export import WEIGHTS, export
from sentq_worker.training.model.temperature import last_layer
from sentq_worker.training.report.record import command_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Part:
    """The folder of a training, and its share of the mean."""

    folder: Path
    share: float

    @classmethod
    def parse(cls, given: str) -> Part:
        """Parse FOLDER@SHARE."""
        folder, at, share = given.rpartition("@")
        if not at:
            raise argparse.ArgumentTypeError(f"{given} has no share: write {given}@0.5")
        return cls(Path(folder), float(share))


def mean_of(parts: Sequence[Part]) -> dict[str, torch.Tensor]:
    """Return the float32 mean of the weights.

    Exits with a message if the shares do not add up to 1, or if the weights differ in shape.
    """
    if not math.isclose(sum(part.share for part in parts), 1):
        sys.exit("the shares do not add up to 1")
    loaded = [load_file(part.folder / WEIGHTS) for part in parts]
    first, *others = [{name: each.shape for name, each in one.items()} for one in loaded]
    for part, shapes in zip(parts[1:], others, strict=True):
        if shapes != first:
            both = f"{parts[0].folder} and {part.folder}"
            sys.exit(f"{both} do not have the same base: their weights differ in shape")
    return {
        name: sum(
            (one[name].float() * part.share for part, one in zip(parts, loaded, strict=True)),
            start=torch.zeros(()),
        )
        for name in first
    }


def labels_of(folder: Path) -> list[str]:
    """Return the labels of a model in the order of its logits."""
    names: dict[str, str] = json.loads((folder / "config.json").read_text())["id2label"]
    return [names[number] for number in sorted(names, key=int)]


def write(
    out: Path,
    weights: Mapping[str, torch.Tensor],
    *,
    like: Path,
    dtype: torch.dtype,
    texts: Mapping[str, str],
) -> None:
    """Write a model folder with these weights; all other files are those of the folder `like`."""
    export(
        out,
        model=load_model(str(like), labels=labels_of(like)),
        weights=weights,
        tokenizer=load_tokenizer(str(like)),
        dtype=dtype,
        texts=texts,
    )


def scored_by(
    folder: Path, files: Sequence[Rows], *, threads: int | None, dtype: str = "float32"
) -> list[ScoredRows]:
    """Score rows as a worker does, in the precision that `worker.dtype` would name."""
    settings = WorkerSettings.load(
        model=str(folder), dtype=dtype, threads=threads, on_other_language="score"
    )
    scorer = load_scorer(settings, Limits())
    done = []
    for rows in files:
        done.append(score_rows(rows, scorer, advance=lambda _: None))
        print(f"scored {rows.name}", file=sys.stderr)  # noqa: T201 - a file takes minutes
    return done


def scaled(scored: ScoredRows, scaling: Scaling) -> ScoredRows:
    """Return what the model gives with its scaling, but for the rounding of the stored weights."""
    logits = torch.tensor(scored.probabilities, dtype=torch.float64).clamp_min(1e-12).log()
    return replace(scored, probabilities=scaling.scaled(logits).softmax(dim=-1).tolist())


def figures(files: Sequence[Rows], scored: Sequence[ScoredRows]) -> list[dict[str, Any]]:
    """Return the figures of each file for the card and the record."""
    kept = ("rows", "accuracy", "macro_f1", "macro_recall", "polar_accuracy", "ece")
    measured = [measure(one).as_json() for one in scored]
    return [
        {"name": rows.name, **{name: each[name] for name in kept}}
        for rows, each in zip(files, measured, strict=True)
    ]


def records_of(part: Part) -> list[dict[str, Any]]:
    """Return the record of a training with its share, or those of the trainings of a mean."""
    record: dict[str, Any] = json.loads((part.folder / "training.json").read_text(encoding="utf-8"))
    runs: list[dict[str, Any]] = record.get("trainings", [{**record, "share": 1}])
    return [{**run, "share": round(run["share"] * part.share, 4)} for run in runs]


def main() -> None:
    """Average, calibrate, measure, write."""
    options = _parser().parse_args()
    parts, out = options.parts, options.out
    last = parts[-1].folder
    filters = [Filter.parse(one) for one in options.valid_where]
    files = [read_rows(path, filters) for path in options.valid]
    measured = [*files, *(read_rows(path) for path in options.measure)]
    weights = mean_of(parts)
    with tempfile.TemporaryDirectory() as temporary:
        # float32: the weights must be rounded only once, after the scaling.
        raw = Path(temporary)
        write(raw, weights, like=last, dtype=torch.float32, texts={})
        scored = scored_by(raw, measured, threads=options.threads)
    labels = labels_of(last)
    scaling = Scaling.fitted(
        [(one.probabilities, one.targets) for one in scored[: len(files)]],
        raised=labels.index(options.lift) if options.lift else None,
        bias=[dict(options.bias).get(label, 0.0) for label in labels],
    )
    layer = last_layer(load_model(str(last), labels=labels), len(labels))
    if layer is None:
        sys.exit(f"{last} has no linear layer that computes its logits")
    weights = scaling.fold_into(weights, layer=layer)
    write(out, weights, like=last, dtype=torch.float16, texts={})
    record = {
        "command": f"python {command_line(sys.argv)}",
        "temperature": round(scaling.temperature, 4),
        "bias": dict(zip(labels, [round(one, 4) for one in scaling.bias], strict=True)),
        "figures": figures(measured, [scaled(one, scaling) for one in scored]),
        "trainings": [run for part in parts for run in records_of(part)],
    }
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(card(record, options.card), encoding="utf-8")


def _bias(given: str) -> tuple[str, float]:
    label, _, bias = given.partition("=")
    return label, float(bias)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Average fine-tunings of one base model.")
    parser.add_argument("parts", type=Part.parse, nargs="+", metavar="FOLDER@SHARE")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--valid", type=Path, action="append", required=True, metavar="FILE")
    parser.add_argument("--measure", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--valid-where", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument(
        "--lift", metavar="LABEL", help="raise the logit of this label, if that calibrates better"
    )
    parser.add_argument(
        "--bias",
        type=_bias,
        action="append",
        default=[],
        metavar="LABEL=BIAS",
        help="add this to the logit of a label, after the division by the temperature",
    )
    parser.add_argument("--card", type=Path, default=BUNDLED, help="the template of the card")
    parser.add_argument("--threads", type=int)
    return parser


if __name__ == "__main__":
    main()
