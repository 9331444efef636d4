"""`sentq-worker train`: real small trainings of a tiny random BERT on rows it can learn."""

from __future__ import annotations

import io
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
from rich.console import Console
from safetensors.torch import load_file
from typer.testing import CliRunner

from sentq_worker.training.command import train
from sentq_worker.training.data.batches import batches_per_epoch, epoch_batches, rows_per_epoch
from sentq_worker.training.data.corpus import hold_out, label_order, read_corpus
from sentq_worker.training.data.rows import Filter, Rows, Source, read_rows
from sentq_worker.training.errors import (
    CheckpointError,
    DivergedError,
    TrainingDataError,
    TrainingOptionsError,
)
from sentq_worker.training.loop.checkpoint import CheckpointStore
from sentq_worker.training.loop.progress import LineReporter, reporter_for
from sentq_worker.training.metrics import figures_of, selection_score
from sentq_worker.training.model.hardware import resolve_device
from sentq_worker.training.report.record import command_line
from sentq_worker.training.step.learner import Learner
from sentq_worker.training.step.padding import Padding
from tests.support.labelled_rows import separable_rows, write_rows
from tests.support.models.tiny import LABELS, make_tiny_model

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typer.testing import Result

_DEADLINE_S = 60.0

app = typer.Typer()
app.command("train")(train)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Equal sums need equal threads; and what a test sets must not stay."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder trained from the command line, for many tests to look at."""
    folder = tmp_path_factory.mktemp("finished")
    data = write_rows(folder / "rows.jsonl", separable_rows(600, seed=1))
    valid = write_rows(folder / "valid.jsonl.gz", separable_rows(120, seed=2))
    result = run_train(
        *(data, "--valid", valid, "--base", base, "--out", folder / "model", "--epochs", 3),
        *("--learning-rate", 3e-3, "--batch-size", 16, "--max-tokens", 32, "--threads", 1),
        *("--licence", "apache-2.0", "--source-note", "Made by a test."),
    )
    assert result.exit_code == 0, result.output
    return folder / "model"


def run_train(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def start_train(*arguments: object) -> subprocess.Popen[str]:
    """Start the same command as a process of its own."""
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
        assert process.poll() is None, "the training ended before it could be disturbed"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def checkpoint_state(out: Path) -> dict[str, Any]:
    state = torch.load(out / "checkpoint" / "state.pt", weights_only=True)
    training: dict[str, Any] = state["training"]
    return training


def checkpoint_changes(out: Path) -> Callable[[int], bool]:
    """Return a question: was the checkpoint replaced this often since now?"""
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
    assert record["epochs"][record["best_epoch"] - 1]["overall"]["accuracy"] > 0.95
    assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2, 3]


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
    answers = classify([row["text"] for row in rows])
    pairs = zip(answers, rows, strict=True)
    assert sum(answer["label"] == row["label"] for answer, row in pairs) > 0.95 * len(rows)


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
    _, said = stopped.communicate(timeout=_DEADLINE_S)
    assert stopped.returncode == 130
    assert "resuming after step" in said
    assert "the same command resumes" in said

    assert run_train(*common, disturbed).exit_code == 0
    assert run_train(*common, calm).exit_code == 0
    resumed = load_file(disturbed / "model.safetensors")
    straight = load_file(calm / "model.safetensors")
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)
    assert not (disturbed / "checkpoint").exists()


@pytest.fixture
def interrupted(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Arguments of a training that has stopped at its third step, and left a checkpoint."""
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
    said = " ".join(result.output.split())
    assert "--learning-rate was 0.0001 and is now 0.0002" in said
    assert "--restart" in said


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
    assert "give the same command" in result.output
    in_the_way.rmdir()
    assert run_train(*interrupted).exit_code == 0
    assert not (tmp_path / "model" / ".export").exists()


def test_a_failed_save_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoint", {})
    store.save({"step": 1})
    (tmp_path / "checkpoint" / "state.pt.partial").mkdir()
    with pytest.raises(CheckpointError, match="Make room"):
        store.save({"step": 2})
    assert store.load() == {"options": {}, "step": 1}


# Rows


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "secret words", "label": ',
        '["secret words", "positive"]',
        '{"label": "positive", "other": "secret words"}',
        '{"text": ["secret words"], "label": "positive"}',
        '{"text": "secret words", "label": 1}',
        '{"text": "secret words", "label": null}',
        '{"text": "secret words"}',
        '{"text": "secret words \\ud800", "label": "positive"}',
        '{"text": "   ", "label": "secret words"}',
    ],
)
def test_an_invalid_row_is_named_by_its_line_and_never_quoted(line: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "good", "label": "positive"}\n\n' + line + "\n")
    with pytest.raises(TrainingDataError, match=r"rows\.jsonl, line 3: ") as caught:
        read_rows(path)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_bytes_that_are_not_utf8_are_an_invalid_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "secret \xff", "label": "positive"}\n')
    with pytest.raises(TrainingDataError, match="line 1: not valid JSON in UTF-8"):
        read_rows(path)


def test_invalid_rows_end_the_command_with_code_2(base: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"text": "secret words"}])
    result = run_train(data, "--base", base, "--out", tmp_path / "model")
    assert result.exit_code == 2
    assert "line 1" in result.output
    assert "secret" not in result.output


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"none\.jsonl: No such file"):
        read_rows(tmp_path / "none.jsonl")
    path = write_rows(tmp_path / "rows.jsonl.gz", separable_rows(50, seed=7))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TrainingDataError, match="damaged gzip file"):
        read_rows(path)


def test_a_filter_keeps_equal_values_and_rows_without_the_field(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "label": "positive", "split": "train"},
        {"text": "b", "label": "positive", "split": "valid"},
        {"text": "c", "label": "positive"},
        {"text": "d", "label": "positive", "split": "train", "root": True},
        {"text": "e", "label": "positive", "split": "train", "root": False, "stars": 2},
    ]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    assert read_rows(path, [Filter.parse("split=train")]).texts == ["a", "c", "d", "e"]
    both = [Filter.parse("split=train"), Filter.parse("root=true")]
    assert read_rows(path, both).texts == ["a", "c", "d"]
    with pytest.raises(TrainingDataError, match="no rows left"):
        read_rows(write_rows(path, rows[1:2]), [Filter.parse("split=train")])


@pytest.mark.parametrize("argument", ["split", "=train", ""])
def test_a_filter_without_field_or_value_is_rejected(argument: str) -> None:
    with pytest.raises(TrainingOptionsError, match="FIELD=VALUE"):
        Filter.parse(argument)


def test_a_source_may_carry_a_weight() -> None:
    assert Source.parse("rows.jsonl.gz@0.3") == Source(Path("rows.jsonl.gz"), 0.3)
    assert Source.parse("rows@home.jsonl") == Source(Path("rows@home.jsonl"), 1.0)
    for argument in ("rows.jsonl@0", "rows.jsonl@-1", "rows.jsonl@nan", "rows.jsonl@inf"):
        with pytest.raises(TrainingOptionsError, match="positive number"):
            Source.parse(argument)


# Labels and validation rows


def test_labels_are_ordered_by_sentiment_or_name() -> None:
    assert label_order({"positive", "neutral", "negative"}) == LABELS
    assert label_order({"positive", "negative"}) == ("negative", "positive")
    assert label_order({"spam", "ham"}) == ("ham", "spam")
    with pytest.raises(TrainingDataError, match="two labels"):
        label_order({"positive"})


def test_duplicates_of_a_text_are_held_out_together() -> None:
    texts = [f"text {number}" for number in range(400)]
    rows = Rows("rows", [*texts, *(text.upper() for text in texts)], ["a"] * 800, "digest")
    (kept,), (held,) = hold_out([rows], seed=1, names={"rows"})
    assert len(kept) + len(held) == 800
    assert 10 < len(held) < 80
    assert not {text.lower() for text in held.texts} & {text.lower() for text in kept.texts}
    assert hold_out([rows], seed=1, names={"rows"}) == ([kept], [held])


def test_too_few_rows_to_hold_out_require_a_validation_file() -> None:
    with pytest.raises(TrainingDataError, match="--valid"):
        hold_out([Rows("rows", ["a", "b"], ["x", "y"], "digest")], seed=1, names={"rows"})


def test_a_validation_label_missing_in_training_is_rejected(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"text": "a", "label": x} for x in "pn"])
    valid = write_rows(tmp_path / "valid.jsonl", [{"text": "a", "label": "q"}])
    with pytest.raises(TrainingDataError, match=r"valid\.jsonl has labels .*'q'"):
        read_corpus([Source(data)], validation=[valid])


def test_validation_texts_that_are_also_in_training_are_counted(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"text": f"A  {x}", "label": x} for x in "pn"])
    valid = write_rows(tmp_path / "valid.jsonl", [{"text": x, "label": "p"} for x in ("a P", "b")])
    corpus = read_corpus([Source(data)], validation=[valid])
    assert corpus.seen_in_training(corpus.validation[0]) == 1


def test_accuracy_polar_accuracy_and_macro_f1_are_correct() -> None:
    probabilities = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.5, 0.4], [0.2, 0.5, 0.3]]
    figures = figures_of(probabilities, [0, 0, 2, 1], labels=LABELS)
    assert figures.rows == 4
    assert figures.accuracy == 0.5
    assert figures.polar_accuracy == 1.0
    # negative: 1 hit of 1 guess and 2 rows; neutral: 1 of 3 and 1; positive: none.
    assert figures.macro_f1 == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert figures_of([[0.4, 0.6]], [1], labels=("ham", "spam")).polar_accuracy is None


def test_neutral_predictions_do_not_count_where_no_row_is_neutral() -> None:
    guesses = [[0.4, 0.6, 0.0], [0.1, 0.5, 0.4]]  # neutral first, the right pole second
    polar = figures_of(guesses, [0, 2], labels=LABELS)
    mixed = figures_of(guesses, [0, 1], labels=LABELS)
    assert selection_score([(polar, [0, 2])], labels=LABELS) == 1.0
    assert selection_score([(polar, [0, 2]), (mixed, [0, 1])], labels=LABELS) == 0.75
    spam = figures_of([[0.4, 0.6]], [1], labels=("ham", "spam"))
    assert selection_score([(spam, [1])], labels=("ham", "spam")) == 1.0


def test_a_named_source_is_held_out_beside_the_validation_files(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "first.jsonl", separable_rows(400, seed=1))
    second = write_rows(tmp_path / "second.jsonl", separable_rows(400, seed=2))
    valid = write_rows(tmp_path / "valid.jsonl", separable_rows(50, seed=3))
    sources = [Source(first), Source(second)]
    corpus = read_corpus(sources, validation=[valid], held_out=["second.jsonl"])
    assert [rows.name for rows in corpus.validation] == ["valid.jsonl", "second.jsonl (held out)"]
    assert len(corpus.training[0]) == 400
    assert len(corpus.training[1]) + len(corpus.validation[1]) == 400
    with pytest.raises(TrainingOptionsError, match=r"--hold-out third\.jsonl"):
        read_corpus(sources, held_out=["third.jsonl"])


# Order


def test_an_epoch_samples_by_weight_and_depends_on_the_seed() -> None:
    lengths = [number % 13 + 1 for number in range(400)]
    sizes, weights = (100, 300), (2.5, 0.1)

    def drawn(*, seed: int = 1, epoch: int = 0) -> list[list[int]]:
        return epoch_batches(lengths, sizes, weights, batch_size=16, seed=seed, epoch=epoch)

    rows = [row for batch in drawn() for row in batch]
    assert len(rows) == rows_per_epoch(100, 2.5) + rows_per_epoch(300, 0.1) == 280
    assert sum(row < 100 for row in rows) == 250
    assert {rows.count(row) for row in range(100)} == {2, 3}
    assert max(rows.count(row) for row in range(100, 400)) == 1
    assert len(drawn()) == batches_per_epoch(sizes, weights, 16)
    assert drawn() == drawn()
    assert drawn() != drawn(epoch=1)
    assert drawn() != drawn(seed=2)


def test_batches_hold_rows_of_similar_length() -> None:
    lengths = [2 + row * row % 127 for row in range(3000)]
    batches = epoch_batches(lengths, (3000,), (1.0,), batch_size=32, seed=1, epoch=0)
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    assert padded < 1.05 * sum(lengths)


# Learner


def make_learner(base: Path, dtype: torch.dtype = torch.float32, *, left: bool = False) -> Learner:
    from sentq_worker.training.model.base import load_model

    model = load_model(str(base), labels=LABELS, dropout=0.0, attention_dropout=0.0)
    return Learner(model, padding=Padding(0, left), device=torch.device("cpu"), dtype=dtype)


def test_a_padded_row_scores_like_a_single_row(base: Path) -> None:
    learner = make_learner(base)
    rows = [[2, 60, 3], [2, *range(40, 60), 3], [2, 70, 71, 72, 3]]
    together = torch.tensor(learner.predict(rows))
    alone = torch.tensor([learner.predict([row])[0] for row in rows])
    assert torch.allclose(together, alone, atol=1e-5)


def test_padding_may_be_on_either_side() -> None:
    rows, cpu = [[5, 6, 7], [8]], torch.device("cpu")
    assert Padding(0).tensors(rows, cpu)[0].tolist() == [[5, 6, 7], [8, 0, 0]]
    token_ids, mask = Padding(0, on_the_left=True).tensors(rows, cpu)
    assert token_ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_bfloat16_learns_on_float32_master_weights(base: Path) -> None:
    learner = make_learner(base, torch.bfloat16)
    rows, targets = [[2, 60, 3], [2, 61, 62, 3]], [0, 2]
    losses = [learner.learn(rows, targets, rate=1e-3) for _ in range(20)]
    assert losses[-1] < losses[0] / 2
    assert {weight.dtype for weight in learner.weights().values()} == {torch.float32}
    assert {weight.dtype for weight in learner.model.parameters()} == {torch.bfloat16}


def test_a_loss_of_nan_is_an_error(base: Path) -> None:
    learner = make_learner(base)
    with torch.no_grad():
        next(learner.model.parameters()).fill_(float("nan"))
    with pytest.raises(DivergedError, match="lower --learning-rate"):
        learner.learn([[2, 60, 3]], [0], rate=1e-3)


def test_a_missing_device_is_rejected() -> None:
    with pytest.raises(TrainingOptionsError, match="--device warp"):
        resolve_device("warp")


# Progress


def test_the_bar_and_the_lines_show_loss_and_speed() -> None:
    for is_terminal in (True, False):
        shown = io.StringIO()
        console = Console(file=shown, force_terminal=is_terminal, width=100)
        with reporter_for(console) as reporter:
            reporter.say("[half] an epoch")
            reporter.begin(steps=10, done=4)
            if isinstance(reporter, LineReporter):
                reporter.every_s = 0.0
            reporter.stepped(texts=32, loss=0.5)
        assert "[half] an epoch" in shown.getvalue()
        assert "loss 0.500" in shown.getvalue()
        assert "texts/s" in shown.getvalue()


# Command line


def test_a_base_that_cannot_be_loaded_is_rejected(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", separable_rows(100, seed=8))
    (tmp_path / "empty").mkdir()
    result = run_train(data, "--base", tmp_path / "empty", "--out", tmp_path / "model")
    assert result.exit_code == 2
    assert "--base" in result.output


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


def test_the_recorded_command_names_no_folders(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [])
    arguments = ["/bin/sentq-worker", "train", f"{path}@0.5", f"--out={tmp_path}/new", "--seed=3"]
    expected = "sentq-worker train rows.jsonl@0.5 --out=new --seed=3"
    assert command_line(arguments) == expected
