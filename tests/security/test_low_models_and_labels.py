"""A model's config.json chooses no kernel, and `evaluate` shows no texts as labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sentq_worker.evaluate.scored import check_labels
from sentq_worker.inference.model import LocalEngine
from sentq_worker.inference.model_files import find_model
from sentq_worker.training.data.rows import Columns, read_rows
from sentq_worker.training.errors import TrainingDataError


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
def test_a_config_that_names_a_kernel_is_loaded_without_it(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {name: "owner/kernel"}))
    engine = LocalEngine(find_model(str(folder), None), device="cpu", dtype="float32", threads=1)
    assert len(engine.info.labels) == 3


@pytest.mark.unit
@pytest.mark.parametrize(
    "texts",
    [
        [f"text {number}" for number in range(30)],
        ["text that is longer than the name of any label should be", "b"],
    ],
)
def test_texts_in_place_of_labels_are_not_shown(texts: list[str], tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    rows = read_rows(file, columns=Columns(label="text"))
    with pytest.raises(TrainingDataError, match="--label-field names") as refused:
        check_labels(rows, ["negative", "positive"])
    assert not any(text in str(refused.value) for text in texts if text != "b")


@pytest.mark.unit
def test_a_few_unknown_labels_are_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "t", "label": "pos"}\n')
    with pytest.raises(TrainingDataError, match="lacks: pos; the model's are"):
        check_labels(read_rows(file), ["negative", "positive"])
