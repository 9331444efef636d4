"""`sentq-worker evaluate`: the metrics of labelled texts, scored as a worker scores them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sentq.contract import Limits, Prediction
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings
from tests.support.models.tiny import WORDS

pytestmark = pytest.mark.slow


def _evaluate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sentq_worker", "evaluate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def labelled(tmp_path: Path, tiny_model: Path) -> Path:
    """Write words with the model's own labels, and another label for every fourth word."""
    scorer = load_scorer(WorkerSettings.load(model=str(tiny_model), threads=1), Limits())
    rows = []
    for i, (word, outcome) in enumerate(zip(WORDS, scorer.score([WORDS])[0], strict=True)):
        assert isinstance(outcome, Prediction)
        wrong = "negative" if outcome.label == "positive" else "positive"
        split = "valid" if i % 2 else "train"
        rows.append({"text": word, "label": wrong if i % 4 == 1 else outcome.label, "split": split})
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_figures_are_those_of_the_selected_rows(labelled: Path, tiny_model: Path) -> None:
    done = _evaluate(labelled, "--model", tiny_model, "--where", "split=train", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["accuracy"] == figures["polar_accuracy"] == 1
    assert figures["errors"] == 0
    assert figures["file"] == "labelled.jsonl"

    done = _evaluate(labelled, "--model", tiny_model, "--where", "split=valid", "--json")
    assert json.loads(done.stdout)["accuracy"] == pytest.approx(0.5, abs=0.03)


def test_the_command_prints_a_line_per_file(labelled: Path, tiny_model: Path) -> None:
    done = _evaluate(labelled, labelled, "--model", tiny_model)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("accuracy 0.7" in line and "polar" in line for line in lines)


def test_labels_missing_in_the_model_are_named(tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text('{"text": "CANARY", "label": "joy"}\n')
    done = _evaluate(path, "--model", tiny_model)
    assert done.returncode == 2
    assert "joy" in done.stderr
    assert "negative, neutral, positive" in done.stderr
    assert "CANARY" not in done.stderr
    assert "Traceback" not in done.stderr
