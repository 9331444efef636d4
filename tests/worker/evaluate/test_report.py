"""The output of `sentq-worker evaluate`: lines, tables, JSON and the HTML report."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from sentq.contract import Limits, Prediction
from sentq.errors import SentqError
from sentq_worker.cli import app
from sentq_worker.evaluate.page import page_of
from sentq_worker.evaluate.run import EvaluationTask, evaluate_models
from sentq_worker.evaluate.terminal import lines, show_tables
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings
from sentq_worker.training.data.rows import read_rows
from sentq_worker.training.errors import MissingExtra, TrainingDataError, TrainingOptionsError
from tests.support.models.tiny import WORDS, make_tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sentq_worker.evaluate.results import Evaluation
    from sentq_worker.scoring.scorer import EngineScorer

#: Shown only on request, and never as an element of a page.
_CANARY = "<script>alert('canary')</script> \x1b[31m"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Use one CPU thread, and restore the number afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("other") / "rival", seed=1)


@pytest.fixture(scope="module")
def data(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write words with the tiny model's own labels, and a canary with a wrong one in line 1."""
    scorer = _scorer(tiny_model)()
    outcomes = scorer.score([[_CANARY, *WORDS]])[0]
    rows = []
    for text, outcome in zip([_CANARY, *WORDS], outcomes, strict=True):
        assert isinstance(outcome, Prediction)
        rows.append({"text": text, "label": outcome.label})
    rows[0]["label"] = next(one for one in scorer.label_names if one != rows[0]["label"])
    path = tmp_path_factory.mktemp("data") / "words.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def evaluation(data: Path, tiny_model: Path, other_model: Path) -> Evaluation:
    """Evaluate two models on two files and the suite, with texts."""
    return _evaluated([tiny_model, other_model], data, data, show_text=True)


class _Silent:
    def begin(self, what: str, texts: int) -> None: ...
    def advance(self, texts: int) -> None: ...


def _scorer(model: Path) -> Callable[[], EngineScorer]:
    settings = WorkerSettings.load(model=str(model), threads=1)
    return lambda: load_scorer(settings, Limits())


def _evaluated(models: list[Path], *files: Path, show_text: bool) -> Evaluation:
    rows = [read_rows(path) for path in files]
    task = EvaluationTask(rows, with_behaviour=True, mistakes=10, show_text=show_text)
    return evaluate_models([_scorer(model) for model in models], task, _Silent())


def _run(*arguments: object) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--threads", "1"])
    if done.exception:
        raise done.exception
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


# The command


def test_json_output_has_an_object_per_file_average_and_behaviour(
    data: Path, tiny_model: Path, other_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "good.csv").write_text("body,stars\ngood,1\nbad,0\nodd,7\n")
    report = tmp_path / "report.html"
    first, average, behaviour = (
        *_run(data, "--model", tiny_model, "--json"),
        *_run(data, data, "--model", tiny_model, "--json")[2:],
        *_run("--behaviour", "--model", tiny_model, "--against", other_model, "--json",
              "--html", report),
    )  # fmt: skip
    assert first["kind"] == "file"
    assert first["rows"] == len(WORDS) + 1
    assert first["accuracy"] == round(len(WORDS) / (len(WORDS) + 1), 4)
    assert sum(sum(row.values()) for row in first["confusion"].values()) == first["rows"]
    assert sum(each["rows"] for each in first["calibration"]["bins"]) == first["rows"]
    assert first["accuracy_interval"][0] < first["accuracy"] < first["accuracy_interval"][1]
    assert [each["line"] for each in first["mistakes"]] == [1]
    assert "canary" not in json.dumps(first)
    assert (average["kind"], average["files"]) == ("average", 2)
    assert average["accuracy"] == first["accuracy"]
    assert behaviour["kind"] == "behaviour"
    assert behaviour["against"]["model"] == "rival"
    assert sum(each["cases"] for each in behaviour["capabilities"].values()) == behaviour["cases"]
    assert 0 < behaviour["comparison"]["passed"]["p_value"] <= 1
    assert report.read_text().startswith("<!doctype html>")


def test_columns_and_labels_follow_the_options(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "good.csv"
    path.write_text("body,stars\ngood,1\nbad,0\nodd,7\n")
    names = [f"--label-map={one}" for one in ("1=positive", "0=negative", "7=")]
    (shown,) = _run(
        path, "--text-field=body", "--label-field=stars", *names, "--model", tiny_model, "--json",
        "--show-text", "--mistakes", 1,
    )  # fmt: skip
    assert shown["rows"] == 2
    assert [each["text"] for each in shown["mistakes"]] in (["good"], ["bad"], [])


def test_two_models_are_compared_with_a_significance_test(
    data: Path, tiny_model: Path, other_model: Path
) -> None:
    (shown,) = _run(data, "--model", tiny_model, "--against", other_model, "--json")
    assert shown["model"] == "tiny"
    assert shown["against"]["model"] == "rival"
    test = shown["comparison"]["accuracy"]
    assert test["rows"] == shown["rows"]
    difference = (test["only_first_right"] - test["only_second_right"]) / test["rows"]
    assert test["difference"] == pytest.approx(difference, abs=1e-4)
    assert difference == pytest.approx(shown["accuracy"] - shown["against"]["accuracy"], abs=1e-4)
    assert test["p_value"] < 0.01


def test_a_model_can_be_compared_with_the_bundled_one(data: Path, tiny_model: Path) -> None:
    (shown,) = _run(data, "--model", tiny_model, "--against", "bundled", "--json")
    assert shown["against"]["model"] == "sentq-model"


def test_label_names_of_one_model_do_not_apply_to_the_other(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute = make_tiny_model(tmp_path / "mute", labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    names = {"LABEL_0": "negative", "LABEL_1": "neutral", "LABEL_2": "positive"}
    monkeypatch.setenv("SENTQ_WORKER_LABELS", json.dumps(names))
    (shown,) = _run(data, "--model", mute, "--against", tiny_model, "--json")
    assert shown["accuracy"] == shown["against"]["accuracy"]
    assert shown["comparison"]["accuracy"]["p_value"] == 1


def test_models_with_the_same_name_are_distinguished_by_revision(
    data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    models = [tiny_model, make_tiny_model(tmp_path / "tiny", seed=2)]
    first, second = _evaluated(models, data, show_text=False).models
    assert first.name.startswith("tiny sha256:")
    assert first.name != second.name


def test_invalid_options_are_rejected_with_advice(
    data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingOptionsError, match="give DATA, --behaviour, or both"):
        _run("--model", tiny_model)
    with pytest.raises(TrainingOptionsError, match="cannot write --html"):
        _run(data, "--model", tiny_model, "--html", tmp_path / "none" / "report.html")
    strange = tmp_path / "strange.jsonl"
    strange.write_text('{"text": "a", "label": "joy"}\n')
    with pytest.raises(TrainingDataError, match=r"joy; .* --label-map OLD=NEW"):
        _run(data, strange, "--model", tiny_model)


def test_a_missing_library_is_reported_with_how_to_install_it(
    data: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(
        MissingExtra, match=r'sklearn is not installed.*pip install "sentq\[training\]"'
    ):
        _run(data, "--model", tiny_model)
    assert issubclass(MissingExtra, SentqError)


def test_help_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'transformers', 'sklearn', 'scipy', 'pyarrow', 'jinja2', 'numpy'}"
    code = f"import sys, sentq_worker.cli; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (b"", b"")


# Lines and tables


def test_output_to_a_pipe_has_a_line_per_file_model_and_capability(
    evaluation: Evaluation,
) -> None:
    printed = list(lines(evaluation))
    assert sum(line.startswith("words.jsonl, ") for line in printed) == 4
    assert any(line.startswith("behaviour, tiny, negation: ") for line in printed)
    assert any(line.startswith("behaviour, rival, all: ") for line in printed)
    assert not any("canary" in line or "\n" in line for line in printed)


@pytest.mark.parametrize("width", [80, 140])
def test_tables_fit_the_width_of_the_terminal(evaluation: Evaluation, width: int) -> None:
    stream = io.StringIO()
    show_tables(evaluation, Console(file=stream, width=width, color_system=None), most=3)
    shown = stream.getvalue()
    for part in ("macro", "mean of files", "95% interval", "prediction", "typing errors"):
        assert part in shown
    assert max(map(len, shown.splitlines())) <= width
    assert "<script>alert" in shown
    assert "\x1b" not in shown


def test_texts_are_shown_only_on_request(data: Path, tiny_model: Path) -> None:
    evaluation = _evaluated([tiny_model], data, show_text=False)
    stream = io.StringIO()
    show_tables(evaluation, Console(file=stream, width=200), most=3)
    everywhere = stream.getvalue() + page_of(evaluation) + json.dumps([*evaluation.as_json()])
    assert "canary" not in everywhere
    assert "--show-text" in page_of(evaluation)


# The report


class _Page(HTMLParser):
    """Records the elements of a page, and checks that each is closed where it was opened."""

    _VOID = frozenset({"meta", "br", "!doctype"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in {"src", "href", "srcset"}
        ]
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self._VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_no_resource(evaluation: Evaluation) -> None:
    text = page_of(evaluation)
    page = _Page(text)
    assert page.open == []
    assert page.addresses == []
    assert not {"script", "link", "img", "iframe"} & set(page.seen)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    # Two files of two models: accuracies, 2 x (2 confusions, reliability), behaviour.
    assert page.seen.count("svg") == 8
    assert "prefers-color-scheme: dark" in text


def test_the_page_escapes_the_texts(evaluation: Evaluation) -> None:
    text = page_of(evaluation)
    assert "&lt;script&gt;alert(" in text
    assert "<script" not in text


def test_the_page_marks_significant_differences(evaluation: Evaluation) -> None:
    text = re.sub(r"\s+", " ", page_of(evaluation))
    assert "Is the difference significant?" in text
    assert ">better<" in text
    assert "McNemar" in text


def test_a_page_with_only_behaviour_has_no_files(tiny_model: Path) -> None:
    text = page_of(_evaluated([tiny_model], show_text=False))
    page = _Page(text)
    assert page.open == []
    assert page.seen.count("svg") == 1
    assert "<h2>Files</h2>" not in text
