"""`sentq-worker train`: real small trainings of a tiny random BERT on separable rows."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from sentq_worker.inference.model_config import stated_languages
from sentq_worker.training.command import train
from sentq_worker.training.step.learner import Learner
from tests.support.labelled_rows import separable_rows, write_rows
from tests.support.models.tiny import LABELS

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result


#: The share of right labels of a model that has learned; one that has not gives a third of them.
#: Processors round differently, so seeds do not make it the same everywhere: 0.95 to 1 were seen.
LEARNED = 0.8

_DEADLINE_S = 60.0

app = typer.Typer()
app.command("train")(train)


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a model by the command, and return its folder, which many tests read."""
    folder = tmp_path_factory.mktemp("finished")
    data = write_rows(folder / "rows.jsonl", separable_rows(600, seed=1))
    valid = write_rows(folder / "valid.jsonl.gz", separable_rows(120, seed=2))
    result = run_train(
        *(data, "--valid", valid, "--base", base, "--out", folder / "model", "--epochs", 3),
        *("--learning-rate", 3e-3, "--batch-size", 16, "--max-tokens", 32, "--threads", 1),
        *("--licence", "apache-2.0", "--source-note", "Made by a test."),
        *("--language", "en", "--language", "fr"),
    )
    assert result.exit_code == 0, result.output
    return folder / "model"


def run_train(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def start_train(*arguments: object) -> subprocess.Popen[str]:
    """Start the same command as a process."""
    code = "import typer; from sentq_worker.training.command import train; typer.run(train)"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not reached():
        assert process.poll() is None, "the training ended before the test could interrupt it"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def checkpoint_state(out: Path) -> dict[str, Any]:
    state = torch.load(out / "checkpoint" / "state.pt", weights_only=True)
    training: dict[str, Any] = state["training"]
    return training


def checkpoint_changes(out: Path) -> Callable[[int], bool]:
    """Return a check whether the checkpoint has been replaced this often from now on."""
    path = out / "checkpoint" / "state.pt"
    seen = {path.stat().st_mtime_ns} if path.exists() else set()

    def changed(times: int) -> bool:
        if path.exists():
            seen.add(path.stat().st_mtime_ns)
        return len(seen) > times

    return changed


# The finished folder


def test_training_learns_separable_rows(finished: Path) -> None:
    record = json.loads((finished / "training.json").read_text())
    assert record["epochs"][record["best_epoch"] - 1]["overall"]["accuracy"] > LEARNED
    assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2, 3]


def test_the_card_states_the_languages_of_the_texts(finished: Path) -> None:
    assert stated_languages(finished) == ("en", "fr")


def test_the_folder_loads_with_the_auto_classes_and_the_pipeline(finished: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    model = AutoModelForSequenceClassification.from_pretrained(finished)
    tokenizer = AutoTokenizer.from_pretrained(finished)
    assert model.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}
    assert model.config.problem_type == "single_label_classification"
    assert model.dtype == torch.float32
    assert tokenizer.model_max_length == 64
    classify = pipeline("text-classification", model=str(finished))
    rows = separable_rows(120, seed=2)
    predictions = classify([row["text"] for row in rows])
    pairs = zip(predictions, rows, strict=True)
    right = sum(prediction["label"] == row["label"] for prediction, row in pairs)
    assert right > LEARNED * len(rows)


def test_weights_are_stored_in_float16_and_readable_by_all(finished: Path) -> None:
    weights = load_file(finished / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in finished.iterdir())


def test_the_tokenizer_does_not_keep_the_truncation_of_the_training(finished: Path) -> None:
    tokenizer = json.loads((finished / "tokenizer.json").read_text())
    assert tokenizer["truncation"] is None
    assert tokenizer["padding"] is None
    assert "max_length" not in json.loads((finished / "tokenizer_config.json").read_text())


def test_truncation_stored_in_the_base_is_removed(finished: Path, tmp_path: Path) -> None:
    from sentq_worker.training.model.base import load_tokenizer

    base = Path(shutil.copytree(finished, tmp_path / "base"))
    baked = json.loads((base / "tokenizer.json").read_text())
    baked["truncation"] = {
        "direction": "Right",
        "max_length": 8,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    (base / "tokenizer.json").write_text(json.dumps(baked))
    tokenizer = load_tokenizer(str(base))
    assert len(tokenizer("good " * 20)["input_ids"]) == 22
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert "max_length" not in saved


def test_model_card_and_record_name_files_but_no_folders(finished: Path) -> None:
    texts = [(finished / name).read_text() for name in ("README.md", "training.json")]
    for text in texts:
        assert "rows.jsonl" in text
        assert str(finished.parent) not in text
    assert "license: apache-2.0" in texts[0]
    assert "Made by a test." in texts[0]
    assert f"$ {json.loads(texts[1])['command']}\n" in texts[0]


def test_only_the_files_of_the_model_remain(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
        "training.svg",
    }


def test_a_finished_folder_is_not_overwritten_by_accident(finished: Path, base: Path) -> None:
    data = finished.parent / "rows.jsonl"
    result = run_train(data, "--base", base, "--out", finished, "--max-tokens", 32)
    assert result.exit_code == 2
    assert "--restart" in result.output
    assert (finished / "model.safetensors").exists()


def test_the_record_has_the_loss_curve_and_the_card_the_calibration(finished: Path) -> None:
    record = json.loads((finished / "training.json").read_text())
    temperature = record["epochs"][record["best_epoch"] - 1]["temperature"]
    assert 0.2 <= temperature <= 5
    assert record["losses"][-1][0] == record["epochs"][-1]["step"]
    assert record["losses"][-1][1] < record["losses"][0][1]
    assert f"(temperature {temperature:.2f}," in (finished / "README.md").read_text()
    assert (finished / "training.svg").read_text().count("<polyline") == 3


def test_training_stops_early_without_improvement(base: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", separable_rows(200, seed=4))
    common = (data, "--base", base, "--max-tokens", 32, "--learning-rate", 0, "--epochs", 9)
    result = run_train(*common, "--out", tmp_path / "model", "--patience", 2)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert len(record["epochs"]) == 3
    assert "stopping early" in result.output


def test_columns_labels_and_long_texts_follow_the_options(base: Path, tmp_path: Path) -> None:
    rows = [
        {"review": f"{row['text']} so so {row['text']}", "stars": LABELS.index(row["label"])}
        for row in separable_rows(300, seed=6)
    ]
    names = [part for at, label in enumerate(LABELS) for part in ("--label-map", f"{at}={label}")]
    result = run_train(
        *(write_rows(tmp_path / "rows.jsonl", rows), "--base", base, "--out", tmp_path / "model"),
        *("--text-field", "review", "--label-field", "stars", *names, "--max-tokens", 12),
        *("--long-texts", "windows"),
        *("--class-weights", "balanced", "--label-smoothing", 0.1, "--head-rate", 5),
    )
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert record["labels"] == list(LABELS)
    assert record["options"]["class-weights"] == "balanced"
    assert "windows of 12 tokens" in (tmp_path / "model" / "README.md").read_text()


def test_training_learns_from_scores_without_labels(base: Path, tmp_path: Path) -> None:
    rows = [
        {"text": row["text"], "scores": dict.fromkeys(LABELS, 0.1) | {row["label"]: 0.8}}
        for row in separable_rows(600, seed=1)
    ]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    plain = write_rows(tmp_path / "plain.jsonl", separable_rows(60, seed=3))
    valid = write_rows(tmp_path / "valid.jsonl", separable_rows(120, seed=2))
    result = run_train(
        *(data, plain, "--scores-field", "scores", "--valid", valid, "--base", base),
        *("--out", tmp_path / "model", "--epochs", 3, "--learning-rate", 3e-3, "--no-calibrate"),
        *("--batch-size", 16, "--max-tokens", 32, "--threads", 1, "--class-weights", "balanced"),
    )
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert record["epochs"][record["best_epoch"] - 1]["overall"]["accuracy"] > LEARNED
    assert [source["rows_with_scores"] for source in record["sources"]] == [600, 0]
    assert record["options"]["scores-field"] == "scores"
    # The entropy of such scores is 0.64: a loss below it would be one of labels.
    assert record["losses"][-1][1] > 0.5
    card = (tmp_path / "model" / "README.md").read_text()
    assert "600 of these rows have the probability of each label" in card


# Interruptions


def test_a_killed_and_resumed_training_gives_the_same_model(base: Path, tmp_path: Path) -> None:
    first = write_rows(tmp_path / "first.jsonl", separable_rows(300, seed=3))
    second = write_rows(tmp_path / "second.jsonl", separable_rows(200, seed=4))
    disturbed, calm = tmp_path / "disturbed", tmp_path / "calm"
    common = (
        *(first, f"{second}@0.5", "--base", base, "--batch-size", 8, "--max-tokens", 32),
        *("--dtype", "bfloat16", "--save-dtype", "float32", "--threads", 1, "--out"),
    )

    killed = start_train(*common, disturbed, "--checkpoint-every-s", 0)
    changed = checkpoint_changes(disturbed)
    wait_until(lambda: changed(5), killed)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint_state(disturbed)["batch"] >= 5
    assert not (disturbed / "model.safetensors").exists()

    stopped = start_train(*common, disturbed, "--checkpoint-every-s", 0)
    changed = checkpoint_changes(disturbed)
    wait_until(lambda: changed(5), stopped)
    stopped.send_signal(signal.SIGINT)
    _, output = stopped.communicate(timeout=_DEADLINE_S)
    assert stopped.returncode == 130
    assert "resuming after step" in output
    assert "the same command resumes" in output

    assert run_train(*common, disturbed).exit_code == 0
    assert run_train(*common, calm).exit_code == 0
    resumed = load_file(disturbed / "model.safetensors")
    straight = load_file(calm / "model.safetensors")
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)
    assert not (disturbed / "checkpoint").exists()


@pytest.fixture
def interrupted(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return the arguments of a training that stopped at its third step, with a checkpoint."""
    data = write_rows(tmp_path / "rows.jsonl", separable_rows(200, seed=5))
    arguments = [data, "--base", base, "--out", tmp_path / "model", "--max-tokens", 32]
    steps = []
    learn = Learner.learn

    def third_is_the_last(self: Learner, *rows: Any, rate: float) -> float:
        steps.append(rate)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(self, *rows, rate=rate)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "learn", third_is_the_last)
        result = run_train(*arguments)
    assert result.exit_code == 130
    assert checkpoint_state(tmp_path / "model")["batch"] == 3
    return arguments


def test_resuming_with_other_options_is_rejected(interrupted: list[object]) -> None:
    result = run_train(*interrupted, "--learning-rate", 2e-4)
    assert result.exit_code == 2
    output = " ".join(result.output.split())
    assert "--learning-rate was 0.0001 and is now 0.0002" in output
    assert "--restart" in output


def test_resuming_with_other_rows_is_rejected(interrupted: list[object], tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", separable_rows(200, seed=6))
    result = run_train(*interrupted)
    assert result.exit_code == 2
    assert "the rows was" in result.output


def test_restart_begins_from_the_start(interrupted: list[object]) -> None:
    result = run_train(*interrupted, "--learning-rate", 2e-4, "--restart")
    assert result.exit_code == 0
    assert "resuming" not in result.output


def test_a_damaged_checkpoint_is_rejected_with_advice(
    interrupted: list[object], tmp_path: Path
) -> None:
    (tmp_path / "model" / "checkpoint" / "state.pt").write_bytes(b"half of it")
    result = run_train(*interrupted)
    assert result.exit_code == 1
    assert "--restart" in result.output


def test_a_failed_export_is_completed_by_the_same_command(
    interrupted: list[object], tmp_path: Path
) -> None:
    in_the_way = tmp_path / "model" / "config.json"
    in_the_way.mkdir()
    result = run_train(*interrupted)
    assert result.exit_code == 1
    assert "run the same command" in result.output
    in_the_way.rmdir()
    assert run_train(*interrupted).exit_code == 0
    assert not (tmp_path / "model" / ".export").exists()


def test_invalid_rows_end_the_command_with_code_2(base: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"text": "secret words"}])
    result = run_train(data, "--base", base, "--out", tmp_path / "model")
    assert result.exit_code == 2
    assert "line 1" in result.output
    assert "secret" not in result.output


# Command line


def test_a_base_that_cannot_be_loaded_is_rejected(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", separable_rows(100, seed=8))
    (tmp_path / "empty").mkdir()
    result = run_train(data, "--base", tmp_path / "empty", "--out", tmp_path / "model")
    assert result.exit_code == 2
    assert "--base" in result.output


def test_a_language_that_is_no_code_is_rejected(base: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", separable_rows(100, seed=8))
    result = run_train(data, "--base", base, "--out", tmp_path / "model", "--language", "German")
    assert result.exit_code == 2
    assert "--language German" in result.output


def test_more_tokens_than_positions_of_the_base_are_rejected(base: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", separable_rows(100, seed=8))
    result = run_train(data, "--base", base, "--out", tmp_path / "model", "--max-tokens", 65)
    assert result.exit_code == 2
    assert "more than the 64" in result.output


def test_help_does_not_import_torch() -> None:
    code = "import sys, sentq_worker.training.command; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )
